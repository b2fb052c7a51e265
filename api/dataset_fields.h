/*
 * dataset_fields - the one table of what may stand in a Dataset: the parser, the defaults, the limits and the words of
 * errors come from it.
 *
 * X(id, path, type, fallback, min, max, words, state, sentence)
 *
 * path: "[]" stands for each item of a list. type: enum field_type in common/dataset/fields.h. fallback: as one would write
 * it; NULL: none. min, max: of numbers as they are kept (nanoseconds, bytes). words: the values of an ENUM; for a REFUSED
 * field, what this version has in its place. state: ACTED; ACCEPTED (checked, listed as not acted on yet); REFUSED (not in
 * this version).
 */
#ifndef API_DATASET_FIELDS_H
#define API_DATASET_FIELDS_H

#define DATASET_API_VERSION "larder.dev/v1alpha1"

#define FIELD_S  1000000000LL
#define FIELD_MS 1000000LL
#define FIELD_H  (3600 * FIELD_S)
#define FIELD_PI (1LL << 50)

#define DATASET_FIELDS(X)                                                                                    \
	X(API_VERSION, "apiVersion", TEXT, NULL, 0, 0, NULL, ACTED, "larder.dev/v1alpha1.")                  \
	X(KIND, "kind", TEXT, NULL, 0, 0, NULL, ACTED, "Dataset.")                                           \
	X(METADATA, "metadata", MAP, NULL, 0, 0, NULL, ACTED, "Kubernetes metadata.")                        \
	X(NAME, "metadata.name", TEXT, NULL, 0, 0, NULL, ACTED, "Name of the dataset, a DNS label.")         \
	X(NAMESPACE, "metadata.namespace", TEXT, "default", 0, 0, NULL, ACTED,                               \
	  "Its namespace, a DNS label.")                                                                     \
	X(LABELS, "metadata.labels", FREE, NULL, 0, 0, NULL, ACTED, "Kept by Kubernetes.")                   \
	X(ANNOTATIONS, "metadata.annotations", FREE, NULL, 0, 0, NULL, ACTED, "Kept by Kubernetes.")         \
	X(SPEC, "spec", MAP, NULL, 0, 0, NULL, ACTED, "What the dataset is.")                                \
	X(SOURCES, "spec.sources", MAPS, NULL, 1, 32, NULL, ACTED,                                           \
	  "Stores whose trees make up the dataset.")                                                         \
	X(MOUNT_PATH, "spec.sources[].mountPath", TEXT, "/", 0, 0, NULL, ACTED,                              \
	  "Where the source's tree begins in the dataset.")                                                  \
	X(S3, "spec.sources[].s3", MAP, NULL, 0, 0, NULL, ACTED,                                             \
	  "A bucket of S3 or of a store that speaks its protocol.")                                          \
	X(BUCKET, "spec.sources[].s3.bucket", TEXT, NULL, 0, 0, NULL, ACTED, "Name of the bucket.")          \
	X(PREFIX, "spec.sources[].s3.prefix", TEXT, "", 0, 0, NULL, ACTED,                                   \
	  "Only keys below it, shown without it; a slash is put at its end.")                                \
	X(REGION, "spec.sources[].s3.region", TEXT, "us-east-1", 0, 0, NULL, ACTED,                          \
	  "Region that requests are signed for.")                                                            \
	X(ENDPOINT, "spec.sources[].s3.endpoint", TEXT, NULL, 0, 0, NULL, ACTED,                             \
	  "URL of the store; Amazon's of the region.")                                                       \
	X(REQUESTS_PER_SECOND, "spec.sources[].s3.requestsPerSecond", NUMBER, NULL, 1, 1000000, NULL, ACTED, \
	  "Most requests a second.")                                                                         \
	X(BANDWIDTH, "spec.sources[].s3.bandwidth", QUANTITY, NULL, 1, 8191 * FIELD_PI, NULL, ACTED,         \
	  "Most bytes a second.")                                                                            \
	X(PROFILE_NAME, "spec.sources[].s3.profile", TEXT, NULL, 0, 0, NULL, ACTED,                          \
	  "Profile of the node's shared files (~/.aws) that has the keys.")                                  \
	X(CA_SECRET, "spec.sources[].s3.caSecretRef", MAP, NULL, 0, 0, NULL, ACTED,                          \
	  "Secret whose ca.crt is trusted besides the system's certificates.")                               \
	X(CA_SECRET_NAME, "spec.sources[].s3.caSecretRef.name", TEXT, NULL, 0, 0, NULL, ACTED,               \
	  "Its name, in the dataset's namespace.")                                                           \
	X(PROXY, "spec.sources[].s3.proxy", TEXT, NULL, 0, 0, NULL, ACTED,                                   \
	  "URL of an HTTP proxy on the way to the store; none: as the node's environment says.")             \
	X(ADDRESSING, "spec.sources[].s3.addressing", ENUM, "Auto", 0, 2, "Auto|Path|VirtualHost", ACTED,    \
	  "Where the bucket's name stands; Auto: in the path where an endpoint is given.")                   \
	X(CONNECTIONS, "spec.sources[].s3.connections", NUMBER, NULL, 1, 1024, NULL, ACTED,                  \
	  "Most connections to the store.")                                                                  \
	X(FILE, "spec.sources[].file", MAP, NULL, 0, 0, NULL, ACTED, "A folder of the node.")                \
	X(FILE_PATH, "spec.sources[].file.path", TEXT, NULL, 0, 0, NULL, ACTED,                              \
	  "Absolute path of the folder.")                                                                    \
	X(SYMLINKS, "spec.sources[].file.symlinks", ENUM, "Keep", 0, 2, "Keep|Follow|Skip", ACTED,           \
	  "Symbolic links: shown as links; as what they lead to inside the folder; not at all.")             \
	X(HTTP, "spec.sources[].http", MAP, NULL, 0, 0, NULL, ACTED, "Files of a web server.")               \
	X(HTTP_URL, "spec.sources[].http.url", TEXT, NULL, 0, 0, NULL, ACTED,                                \
	  "URL of a folder, a list or a file.")                                                              \
	X(HTTP_INDEX, "spec.sources[].http.index", ENUM, "Auto", 0, 3, "Auto|Nginx|List|Single", ACTED,      \
	  "What the URL leads to; Auto: index pages where it ends in a slash, else a single file.")          \
	X(GCS, "spec.sources[].gcs", MAP, NULL, 0, 0, "s3, http, file", REFUSED, "Google Cloud Storage.")    \
	X(AZURE, "spec.sources[].azure", MAP, NULL, 0, 0, "s3, http, file", REFUSED, "Azure Blob Storage.")  \
	X(HDFS, "spec.sources[].hdfs", MAP, NULL, 0, 0, "s3, http, file", REFUSED, "HDFS.")                  \
	X(HF, "spec.sources[].hf", MAP, NULL, 0, 0, "s3, http, file", REFUSED, "Hugging Face Hub.")          \
	X(SECRET_REF, "spec.sources[].secretRef", MAP, NULL, 0, 0, NULL, ACTED,                              \
	  "Secret that holds the credentials.")                                                              \
	X(SECRET_NAME, "spec.sources[].secretRef.name", TEXT, NULL, 0, 0, NULL, ACTED,                       \
	  "Its name, in the dataset's namespace.")                                                           \
	X(SERVICE_ACCOUNT, "spec.sources[].serviceAccountName", TEXT, NULL, 0, 0, "secretRef, anonymous",    \
	  REFUSED, "Service account whose role signs requests.")                                             \
	X(ANONYMOUS, "spec.sources[].anonymous", BOOL, NULL, 0, 1, NULL, ACTED, "Requests are not signed.")  \
	X(INCLUDE, "spec.sources[].include", TEXTS, NULL, 0, 256, NULL, ACTED,                               \
	  "Globs of paths to take; none: all.")                                                              \
	X(EXCLUDE, "spec.sources[].exclude", TEXTS, NULL, 0, 256, NULL, ACTED,                               \
	  "Globs of paths to leave out; wins over include.")                                                 \
	X(TIMEOUT, "spec.sources[].timeout", DURATION, "30s", FIELD_MS, FIELD_H, NULL, ACTED,                \
	  "How long a read may wait for the source.")                                                        \
	X(VERSION, "spec.version", VERSION, "Latest", 0, INT64_MAX, NULL, ACTED,                             \
	  "Latest, or the number of a version.")                                                             \
	X(SYNC, "spec.sync", MAP, NULL, 0, 0, NULL, ACTED, "When the sources are listed again.")             \
	X(SYNC_INTERVAL, "spec.sync.interval", DURATION, "0s", 0, 8760 * FIELD_H, NULL, ACTED,               \
	  "Time between listings; 0: on request and on a change of the spec.")                               \
	X(SYNC_PATHS, "spec.sync.paths", TEXTS, NULL, 0, 256, NULL, ACTED,                                   \
	  "Globs that regular listings are limited to.")                                                     \
	X(RETENTION, "spec.retention", MAP, NULL, 0, 0, NULL, ACTED, "How long former versions are kept.")   \
	X(RETENTION_VERSIONS, "spec.retention.versions", NUMBER, "10", 1, 10000, NULL, ACTED,                \
	  "Most versions that are kept, the newest included; those that are mounted or open stay.")          \
	X(RETENTION_AGE, "spec.retention.age", DURATION, "0s", 0, 87600 * FIELD_H, NULL, ACTED,              \
	  "How long a version is kept after a newer one took its place; 0: without end.")                    \
	X(CACHE, "spec.cache", MAP, NULL, 0, 0, NULL, ACTED, "How the data is cached.")                      \
	X(QUOTA, "spec.cache.quota", QUANTITY, NULL, 1, 8191 * FIELD_PI, NULL, ACTED,                        \
	  "Most bytes of it that are cached.")                                                               \
	X(FLOOR, "spec.cache.floor", QUANTITY, NULL, 1, 8191 * FIELD_PI, NULL, ACTED,                        \
	  "Cached bytes that the needs of other datasets never take.")                                       \
	X(TIERS, "spec.cache.tiers", ENUMS, NULL, 0, 2, "NVMe|DRAM", ACTED,                                  \
	  "Tiers by preference; none: any.")                                                                 \
	X(PLACEMENT, "spec.cache.placement", ENUM, NULL, 0, 2, "Auto|Local|Replicate", ACCEPTED,             \
	  "Which nodes hold copies.")                                                                        \
	X(REPLICAS, "spec.cache.replicas", NUMBER, NULL, 1, 64, NULL, ACCEPTED, "Copies in the cluster.")    \
	X(PIN, "spec.cache.pin", BOOL, "false", 0, 1, NULL, ACTED, "Never evicted to make room.")            \
	X(TTL, "spec.cache.ttl", DURATION, NULL, FIELD_S, 87600 * FIELD_H, NULL, ACTED,                      \
	  "Evicted when unused so long.")                                                                    \
	X(PRELOAD, "spec.preload", MAP, NULL, 0, 0, NULL, ACTED, "Loads data before it is read.")            \
	X(PRELOAD_PATHS, "spec.preload.paths", TEXTS, NULL, 0, 256, NULL, ACCEPTED,                          \
	  "Globs of paths to load; none: all.")                                                              \
	X(PRELOAD_BANDWIDTH, "spec.preload.bandwidth", QUANTITY, NULL, 1, 8191 * FIELD_PI, NULL, ACCEPTED,   \
	  "Most bytes a second.")                                                                            \
	X(ACCESS, "spec.access", MAP, NULL, 0, 0, NULL, ACTED, "Owner and mode of the files shown.")         \
	X(UID, "spec.access.uid", NUMBER, "0", 0, UINT32_MAX - 1, NULL, ACTED, "Owner.")                     \
	X(GID, "spec.access.gid", NUMBER, "0", 0, UINT32_MAX - 1, NULL, ACTED, "Group.")                     \
	X(MODE, "spec.access.mode", MODE, "0444", 1, 07777, NULL, ACTED,                                     \
	  "Permissions, octal; directories add x where there is r.")                                         \
	X(VOLUME, "spec.volume", MAP, NULL, 0, 0, NULL, ACTED, "The volume of the dataset.")                 \
	X(CREATE, "spec.volume.create", BOOL, NULL, 0, 1, NULL, ACCEPTED, "Makes a claim of the same name.") \
	X(PROFILE, "spec.volume.profile", ENUM, NULL, 0, 2, "Auto|LargeFiles|SmallFiles", ACCEPTED,          \
	  "What mounts are made for.")                                                                       \
	X(OPEN_WAIT, "spec.volume.openWait", DURATION, NULL, 0, FIELD_H, NULL, ACCEPTED,                     \
	  "How long an open may wait for the rest of the file.")

#endif
