.PHONY: help deps build run test check tidy bench soak fuzz e2e bare install uninstall clean FORCE

help:
	@echo 'make build      programs into $(B)/ (default)'
	@echo 'make deps       install what this Debian machine lacks (apt-get, sudo where not root)'
	@echo 'make run        an example Dataset, mounted and read; DATASET=my.yaml MOUNT=dir for your own'
	@echo 'make check      build + unit tests: the quick loop'
	@echo 'make test       everything: unit tests, sanitizers, tidy, fuzz corpora, end to end'
	@echo 'make tidy e2e fuzz bench soak bare     parts of it; bench takes ROW=, fuzz takes SECONDS='
	@echo 'make install uninstall    PREFIX=$(PREFIX) DESTDIR='
	@echo 'make clean'
	@echo 'words: V=1 SANITIZE=address|thread COVERAGE=1 CC=clang B=build-dir'

deps:
	@sh mk/deps.sh $(BUILD_PACKAGES) $(RUN_PACKAGES) $(TEST_PACKAGES)

build: $(PROGRAMS) $(BENCH_PROGRAMS)

check: build $(TESTS) $(FUZZ_REPLAYS)
	@sh mk/run-tests.sh $(B) $(TESTS) -- $(FUZZ_REPLAYS)

tidy: $(PB_HEADERS)
	@python3 mk/tidy.py --build $(B)

clean:
	rm -rf $(B)

# SUITES and BARE_COMMANDS narrow it; git and make are all the trees get before `make run`.
SUITES ?= bookworm trixie
bare:
	@sh mk/bare.sh $(SUITES)
