/*
 * Any bytes as a file of Datasets; what was parsed must survive the way through a message.
 *
 * Decoders: common/dataset/yaml.c common/dataset/parse.c
 *   common/dataset/values.c common/dataset/assign.c common/dataset/secret.c
 */
#include <stdlib.h>
#include <string.h>

#include "common/dataset.h"
#include "common/dataset/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(const struct dataset *d)
{
	Larder__V1__Dataset *m;
	struct dataset *again = NULL;
	struct err err = {0};

	if (dataset_to_message(d, &m) != 0)
		return;
	if (dataset_from_message(m, &again, &err) != 0 ||
	    dataset_config_hash(again) != dataset_config_hash(d))
		abort();
	(void)dataset_source_takes(&again->sources[0], "train/a.jpg", 11);
	(void)dataset_free(again);
	larder__v1__dataset__free_unpacked(m, NULL);
}

static void secret_there_and_back(const struct secret *s)
{
	struct source_credential was, is;
	Larder__V1__Credential *m;
	struct secret *again = NULL;
	struct err err = {0};

	if (secret_to_message(s, &m) != 0)
		return;
	if (secret_from_message(m, &again, &err) != 0)
		abort();
	secret_credential(s, &was);
	secret_credential(again, &is);
	if (!was.ca_pem != !is.ca_pem || (was.token && strcmp(was.token, is.token) != 0))
		abort();
	(void)secret_free(again);
	(void)secret_message_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dataset_file *f;
	struct err err = {0};
	int r = dataset_file_parse("f", (const char *)data, size, &f, &err);

	if (r != 0) {
		if (!err.text[0])
			abort(); /* every refusal has words */
		return 0;
	}
	for (size_t i = 0; i < f->dataset_count; i++)
		there_and_back(f->datasets[i]);
	for (size_t i = 0; i < f->secret_count; i++)
		secret_there_and_back(f->secrets[i]);
	(void)dataset_file_free(f);
	return 0;
}
