# What a Debian machine needs: to build and run, and what only the tests want.
BUILD_PACKAGES := gcc make pkg-config libgrpc-dev libprotobuf-c-dev protobuf-c-compiler libfuse3-dev \
	libcjson-dev libyaml-dev libssl-dev libcurl4-openssl-dev libexpat1-dev zlib1g-dev libmicrohttpd-dev ca-certificates
RUN_PACKAGES := python3 python3-venv
TEST_PACKAGES := libcmocka-dev clang clang-tidy clang-format cppcheck shellcheck codespell universal-ctags libclang-rt-dev \
	debootstrap python3-pytest python3-boto3 fio curl git e2fsprogs xfsprogs nginx-light openssl
# Only the benchmarks: a peer to stand beside.
BENCH_PACKAGES := s3fs fuse3
