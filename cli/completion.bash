# Completion of larder(1) for bash. The words come from the program's own help, so they are those of its version.
_larder() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]} words
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		words=$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')
	else
		case $prev in
		--output | -o) words="text json" ;;
		-*)
			# An option that takes a value: files, which bash completes itself.
			if "$program" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -qE -- "(^| )$prev,? (--[a-z-]* )?[A-Za-z[]+"; then
				mapfile -t COMPREPLY < <(compgen -f -- "$cur")
				return
			fi
			;;
		esac
		[ -n "$words" ] ||
			words=$("$program" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,')
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o default -F _larder larder
