/* Replays a corpus folder through a fuzz target, so that the ordinary tests run every input ever found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *dir, const char *name)
{
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "rbe");
	if (!f)
		return -1;
	static uint8_t data[4 << 20];
	size_t size = fread(data, 1, sizeof data, f);
	(void)fclose(f);
	/* A copy of the exact size, so that the address sanitizer sees a read past the end. */
	uint8_t *exact = malloc(size ? size : 1);
	if (!exact)
		return -1;
	for (size_t i = 0; i < size; i++)
		exact[i] = data[i];
	(void)LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
	if (!d) {
		(void)fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
		return 2;
	}
	int files = 0;
	for (struct dirent *de; (de = readdir(d));)
		if (de->d_name[0] != '.' && replay(argv[1], de->d_name) == 0)
			files++;
	(void)closedir(d);
	(void)printf("%d inputs\n", files);
	return files > 0 ? 0 : 1;
}
