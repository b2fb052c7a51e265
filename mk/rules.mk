# How things are made. What there is to make stands in parts.mk.
$(B)/config.mk: mk/probe.sh Makefile
	@mkdir -p $(@D)
	$(Q)sh mk/probe.sh $(CC) $@

# Objects: headers are tracked by the compiler; a change of flags rebuilds by $(B)/flags.
FLAGS_NOW = $(CC) $(CPPFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(WARNINGS) $(BASE_LDFLAGS)
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' >$@
FORCE:

$(B)/%_test.o: %_test.c $(B)/flags | $(PB_HEADERS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(TEST_WARNINGS) -MD -MP -c -o $@ $<

$(B)/%.o: %.c $(B)/flags | $(PB_HEADERS)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(BASE_CFLAGS) $(WARNINGS) -MD -MP -c -o $@ $<

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	@mkdir -p $(B)/gen
	$(call say,PROTO,$<)
	$(Q)protoc-c -I. --c_out=$(B)/gen $<

# Generated code is not ours to warn about.
$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c $(B)/flags | $(PB_HEADERS)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(BASE_CFLAGS) -w -MD -MP -c -o $@ $<

%.a:
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $(filter %.o,$^)

-include $(shell [ -d $(B) ] && find $(B) -name '*.d' 2>/dev/null)
