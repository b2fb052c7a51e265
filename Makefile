# Larder. `make help` lists the targets. Everything is built below $(B); V=1 shows the commands.
B ?= build
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
PREFIX ?= /usr/local
DESTDIR ?=
SANITIZE ?=
COVERAGE ?=
V ?=
VERSION := 0.1.0

.DEFAULT_GOAL := build
.SUFFIXES:
.DELETE_ON_ERROR:
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

include mk/packages.mk

# Targets that need no compiler flags must not wait for (or fail in) the probe.
PLAIN := help deps run test fuzz soak bench bare clean uninstall
ifneq ($(filter-out $(PLAIN),$(or $(MAKECMDGOALS),build)),)
-include $(B)/config.mk
endif

CPPFLAGS += -D_GNU_SOURCE -DLARDER_VERSION='"$(VERSION)"' -I. -isystem $(B)/gen
CFLAGS ?= -O2 -g
BASE_CFLAGS = -std=c17 -pthread -fPIE -fno-common -ffile-prefix-map=$(CURDIR)=. $(HARDEN_CC)
WARNINGS = $(WARN_PROBED) -Werror
# Tests convert freely between the integer types of cmocka; everything else about them is held to the same bar.
TEST_WARNINGS = $(filter-out -Wconversion -Wsign-conversion -Wcast-qual -Wnull-dereference,$(WARNINGS)) -Wno-unused-parameter
BASE_LDFLAGS = -pthread -pie $(HARDEN_LD)

ifeq ($(SANITIZE),address)
BASE_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DLARDER_SANITIZE
BASE_LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SANITIZE),thread)
BASE_CFLAGS += -fsanitize=thread -fno-omit-frame-pointer -DLARDER_SANITIZE
BASE_LDFLAGS += -fsanitize=thread
else ifneq ($(SANITIZE),)
$(error SANITIZE is "$(SANITIZE)", not "address" or "thread")
else
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
endif
# `make fuzz`: libFuzzer brings main() and the coverage.
FUZZER ?=
ifneq ($(FUZZER),)
BASE_CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DLARDER_SANITIZE
BASE_LDFLAGS += -fsanitize=fuzzer,address,undefined
endif
ifneq ($(COVERAGE),)
BASE_CFLAGS += --coverage
BASE_LDFLAGS += --coverage
endif

pkg = $(shell pkg-config --$(1) $(2) 2>/dev/null)
include mk/parts.mk
include mk/rules.mk
include mk/targets.mk
