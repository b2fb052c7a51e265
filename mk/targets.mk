.PHONY: sim mutants coverage planted help deps build run test check tidy bench fuzz fuzzers e2e bare install uninstall clean FORCE

help:
	@echo 'make build      programs into $(B)/ (default)'
	@echo 'make deps       install what this Debian machine lacks (apt-get, sudo where not root)'
	@echo 'make run        an example Dataset, mounted and read; DATASET=my.yaml MOUNT=dir for your own; RUN_ONCE=1'
	@echo 'make check      build + unit tests + fuzz corpora: the quick loop'
	@echo 'make test       everything: check by gcc and clang and under both sanitizers, tidy, e2e'
	@echo 'make tidy       the style guide: layers, sizes, format, spelling, headers alone, shellcheck, clang-tidy, cppcheck'
	@echo 'make e2e        end-to-end tests (root, /dev/fuse); ARGS= for pytest'
	@echo 'make fuzz       libFuzzer over each decoder; SECONDS=$(SECONDS) each, ONLY="name ..." FUZZ_JOBS=$(FUZZ_JOBS)'
	@echo 'make coverage   the lines of each decoder that its corpus reaches; under $(COVERED) percent fails; ONLY="name ..."'
	@echo 'make sim        simulates groups of masters that fail; SIM_SECONDS=$(SIM_SECONDS) SEED=$(SEED) PROFILE=$(PROFILE)'
	@echo 'make mutants    plants defects in the consensus; the simulator must find each; MUTANT_STEPS=$(MUTANT_STEPS)'
	@echo 'make bench      the benchmarks (root), into docs/benchmarks.md; ROW="hot-seq ..." only these, ROUNDS=$(ROUNDS)'
	@echo 'make soak       the long proofs: kills, cycles, fuzzing (SECONDS=600 a target), ...; STEP="fuzz planted ..."'
	@echo 'make planted    off-by-ones in decoders that must be found: SANITIZE=address B=build/asan'
	@echo 'make bare       run and test in bare Debian trees (root); SUITES="$(SUITES)" BARE_COMMANDS='
	@echo 'make install uninstall    PREFIX=$(PREFIX) DESTDIR='
	@echo 'make clean      remove $(B)/'
	@echo 'words: V=1 SANITIZE=address|thread COVERAGE=1 CC=clang B=build-dir'

deps:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)

build: $(PROGRAMS) $(BENCH_PROGRAMS)

run:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES)
	@$(MAKE) --no-print-directory build
	@B=$(B) bash e2e/run/run.sh

# The thread sanitizer looks at what has threads; the decoders, replayed from their corpora, have none.
THREADED := common/rpc/% common/http/% common/source/% cache-node/% operator-shim/%
CHECKED := $(if $(filter thread,$(SANITIZE)),$(filter $(THREADED:%=$(B)/%),$(TESTS)),$(TESTS))
REPLAYED := $(if $(filter thread,$(SANITIZE)),,$(FUZZ_REPLAYS))
check: build $(CHECKED) $(REPLAYED)
	@sh mk/run-tests.sh $(B) $(CHECKED) -- $(REPLAYED)

test:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)
	@sh mk/test.sh $(MAKE) $(B)

tidy: $(PB_HEADERS)
	@python3 mk/tidy_test.py 2>$(B)/tidy_test.log || { cat $(B)/tidy_test.log; exit 1; }
	@python3 mk/tidy.py --build $(B)

ARGS ?=
e2e: build
	@sh mk/e2e.sh $(B) $(ARGS)

# libFuzzer needs objects of its own, so they are made by clang in a folder of their own.
SECONDS ?= 60
ONLY ?=
FUZZERS := $(if $(ONLY),$(foreach n,$(ONLY),$(filter %/$(n)_fuzz,$(FUZZ_REPLAYS))),$(FUZZ_REPLAYS))
FUZZ_JOBS ?= 1
fuzz:
	@$(MAKE) --no-print-directory fuzzers CC=clang B=$(B)/fuzz FUZZER=1
	@sh mk/fuzz.sh $(B)/fuzz $(SECONDS) $(SEED) $(FUZZ_JOBS) $(FUZZERS:$(B)/%=$(B)/fuzz/%)
fuzzers: $(FUZZERS)

# All rows write docs/benchmarks.md; some, named by ROW, only print their table.
ROW ?=
ROUNDS ?= 5
bench:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES) $(BENCH_PACKAGES)
	@$(MAKE) --no-print-directory build
	@python3 bench/run.py --build $(B) --rounds $(ROUNDS) $(ROW:%=--row %)

# SUITES and BARE_COMMANDS narrow it; git and make are all the trees get before `make run`.
SUITES ?= bookworm trixie
bare:
	@sh mk/bare.sh $(SUITES)

INSTALL_BIN := $(DESTDIR)$(PREFIX)/bin
INSTALL_LIBEXEC := $(DESTDIR)$(PREFIX)/libexec/larder
INSTALL_DOC := $(DESTDIR)$(PREFIX)/share/doc/larder
INSTALL_MAN := $(DESTDIR)$(PREFIX)/share/man/man1
INSTALL_COMPLETION := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
DOCS := $(sort $(wildcard README.md docs/*.md docs/*/*.md docs/*.svg))
install: build
	install -d $(INSTALL_BIN) $(INSTALL_LIBEXEC) $(INSTALL_DOC)
	install -m 755 $(B)/bin/larder $(INSTALL_BIN)/larder
	install -m 755 $(filter $(LIBEXEC)/%,$(PROGRAMS)) $(INSTALL_LIBEXEC)
	install -D -m 644 docs/man/larder.1 $(INSTALL_MAN)/larder.1
	install -m 644 LICENSE $(INSTALL_DOC)/LICENSE
	install -D -m 644 docs/man/larder-doctor.1 $(INSTALL_MAN)/larder-doctor.1
	install -D -m 644 cli/completion.bash $(INSTALL_COMPLETION)/larder
	for f in $(DOCS); do install -D -m 644 $$f $(INSTALL_DOC)/$$f || exit 1; done

uninstall:
	rm -f $(INSTALL_BIN)/larder $(INSTALL_MAN)/larder.1 $(INSTALL_MAN)/larder-doctor.1 \
		$(INSTALL_COMPLETION)/larder
	rm -rf $(INSTALL_LIBEXEC) $(INSTALL_DOC)

clean:
	rm -rf $(B)

# The simulator of the masters' consensus, on all processors; SIM_SECONDS, SEED, PROFILE. The proof of the finished masters
# runs 300 s here; until they land `make test` takes this.
SIM_SECONDS ?= 60
SEED ?= 1
PROFILE ?= mixed
sim: $(SIM_PROGRAM)
	@sh mk/sim.sh $(SIM_PROGRAM) $(SIM_SECONDS) $(SEED) $(PROFILE)

# Planted defects that the simulator must find: three of five seeds within MUTANT_STEPS.
MUTANT_STEPS ?= 10000000
quoted = '$(subst ','\'',$(1))'
mutants: $(SIM_PROGRAM)
	@sh mk/mutants.sh $(B) $(MUTANT_STEPS) $(call quoted,$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(WARNINGS)) \
		$(call quoted,$(CC) $(CFLAGS) $(BASE_CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS))  $(call quoted,$(LIBS))

# The long proofs, all or those of STEP; SECONDS is for each fuzz target. The last log of each is kept in docs/proofs/.
STEP ?=
soak: SECONDS = 600
soak:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory build $(SIM_PROGRAM)
	@sh mk/soak.sh $(MAKE) $(B) $(SECONDS) $(STEP)

# What the corpora reach of the decoders, in percent of their lines.
COVERED ?= 90
coverage: $(FUZZERS)
	@sh mk/coverage.sh $(B) $(COVERED) $(call quoted,$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(WARNINGS)) \
		$(call quoted,$(CC) $(CFLAGS) $(BASE_CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS)) $(call quoted,$(LIBS)) $(FUZZERS)

# Off-by-ones in decoders that their corpora (PLANTED_SECONDS=0, in a sanitized build) or libFuzzer must find.
PLANTED_SECONDS ?= 0
planted: $(FUZZ_REPLAYS)
	@sh mk/planted.sh $(B) $(PLANTED_SECONDS) $(call quoted,$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(WARNINGS)) \
		$(call quoted,$(CC) $(CFLAGS) $(BASE_CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS)) $(call quoted,$(LIBS))
