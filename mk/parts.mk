# What there is to make. A file lands in a part by its folder; *_test.c and *_fuzz.c make programs of their own.
PROTOS := $(wildcard api/larder/v1/*.proto)
PB_HEADERS := $(PROTOS:%.proto=$(B)/gen/%.pb-c.h)
PB_OBJS := $(PROTOS:%.proto=$(B)/gen/%.pb-c.o)
.SECONDARY: $(PROTOS:%.proto=$(B)/gen/%.pb-c.c) $(PB_HEADERS)

sources = $(filter-out %_test.c %_fuzz.c %main.c,$(foreach d,$(1),$(wildcard $(d)/*.c)))
objects = $(patsubst %.c,$(B)/%.o,$(1))

COMMON_OBJS := $(call objects,$(call sources,common common/*)) $(PB_OBJS)
NODE_OBJS := $(call objects,$(call sources,cache-node cache-node/*))
MOUNTER_OBJS := $(call objects,$(call sources,csi-driver/mounter))
OPERATOR_OBJS := $(call objects,$(call sources,operator-shim))
CLI_OBJS := $(call objects,$(call sources,cli))
METADATA_OBJS := $(call objects,$(call sources,metadata/*))
BENCH_OBJS := $(call objects,$(call sources,bench/*))

$(B)/common.a: $(COMMON_OBJS)
$(B)/cache-node.a: $(NODE_OBJS)
$(B)/csi-driver.a: $(MOUNTER_OBJS)
$(B)/operator-shim.a: $(OPERATOR_OBJS)
$(B)/cli.a: $(CLI_OBJS)
$(B)/metadata.a: $(METADATA_OBJS)
$(B)/bench.a: $(BENCH_OBJS)

# gRPC's own pkg-config file names some 60 libraries that shared linking does not need.
PKGS := libcurl libcjson fuse3 openssl zlib yaml-0.1 expat libprotobuf-c libmicrohttpd
# Headers of others are not ours to warn about (those of libfuse 3.17 fail -Wpedantic).
PKG_CFLAGS := $(patsubst -I%,-isystem %,$(call pkg,cflags,$(PKGS)))
LIBS = -Wl,--as-needed $(call pkg,libs,$(PKGS)) -lgrpc -lgpr

LIBEXEC := $(B)/libexec/larder
PROGRAMS := $(B)/bin/larder $(LIBEXEC)/larder-node $(LIBEXEC)/larder-operator $(LIBEXEC)/larder-mounter
BENCH_PROGRAMS := $(addprefix $(B)/bench/larder-,origin reader ranges lister tables policy)

define link
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS) $(1)
endef

$(B)/bin/larder: $(B)/cli/main.o $(B)/cli.a $(B)/common.a
	$(call link)
$(LIBEXEC)/larder-node: $(B)/cache-node/main.o $(B)/cache-node.a $(B)/common.a
	$(call link)
$(LIBEXEC)/larder-operator: $(B)/operator-shim/main.o $(B)/operator-shim.a $(B)/common.a
	$(call link)
$(BENCH_PROGRAMS): $(B)/bench/larder-%: $(B)/bench/%/main.o $(B)/bench.a $(B)/common.a
	$(call link,-lm)
# The simulator runs the node's own policy.
$(B)/bench/larder-policy $(B)/bench/policy/sim_test: $(B)/cache-node/cache/policy.o
SIM_PROGRAM := $(B)/metadata/larder-sim
$(SIM_PROGRAM): $(B)/metadata/sim/main.o $(B)/metadata.a $(B)/common.a
	$(call link)
# The one privileged program is static and knows only libc (and so has no sanitizer).
$(LIBEXEC)/larder-mounter: $(B)/csi-driver/mounter/main.o $(B)/csi-driver.a $(B)/common.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) $(BASE_CFLAGS) $(filter-out -pie,$(BASE_LDFLAGS)) $(if $(SANITIZE),,-static-pie) -o $@ $(filter %.o %.a,$^)

# Tests: FOO_test.c links the archive of its part, then common.
TEST_SRCS := $(wildcard common/*_test.c common/*/*_test.c cache-node/*_test.c cache-node/*/*_test.c \
	csi-driver/*/*_test.c operator-shim/*_test.c cli/*_test.c bench/*/*_test.c metadata/*/*_test.c)
TESTS := $(TEST_SRCS:%.c=$(B)/%)
part_of = $(B)/$(firstword $(subst /, ,$(patsubst $(B)/%,%,$(1)))).a
.SECONDEXPANSION:
$(TESTS): $(B)/%: $(B)/%.o $$(call part_of,$$@) $(B)/common.a
	$(call link,-lcmocka -lm)

# Fuzz targets: under libFuzzer by `make fuzz`, and as replay programs over their corpora in the tests.
FUZZ_SRCS := $(wildcard common/*/*_fuzz.c cache-node/*/*_fuzz.c csi-driver/*/*_fuzz.c metadata/*/*_fuzz.c)
FUZZ_REPLAYS := $(FUZZ_SRCS:%.c=$(B)/%)
$(FUZZ_REPLAYS): $(B)/%: $(B)/%.o $(if $(FUZZER),,$(B)/mk/fuzz_main.o) $$(call part_of,$$@) $(B)/common.a
	$(call link)
# The S3 source is tested against our own origin, which the test starts.
$(B)/common/source/s3_test $(B)/common/source/s3_listing_test: | $(B)/bench/larder-origin
# Tests of the node's parts start the mounter, which opens the roots of their file sources.
$(filter $(B)/cache-node/datasets/% $(B)/cache-node/mounts_test $(B)/cache-node/service_test,$(TESTS)): | $(LIBEXEC)/larder-mounter
