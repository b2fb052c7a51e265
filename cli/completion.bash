# Completion of larder(1) for bash. It asks the program itself, so it knows the commands and options that the program has.
# shellcheck shell=bash

# Whether an option of a command is followed by a value.
_larder_takes_value() { # PROGRAM COMMAND OPTION
	"$1" "$2" --help 2>/dev/null | grep -qE -- "(^| )$3,? (--[a-z-]* )?[A-Za-z[]+"
}

_larder() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} larder=${COMP_WORDS[0]} words
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="$("$larder" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p') --help --version"
	elif [[ $before == --instance ]]; then
		words=$(cd /run/larder 2>/dev/null && echo *)
	elif [[ $before == --output || $before == -o ]]; then
		words="text json"
	elif [[ $before == -* ]] && _larder_takes_value "$larder" "${COMP_WORDS[1]}" "$before"; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	elif [[ $word == -* || ${COMP_WORDS[1]} == doctor ]]; then
		words=$("$larder" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,')
	elif [[ ${COMP_WORDS[1]} == up ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	else
		words=$("$larder" status 2>/dev/null | sed -n 's/^\(default\/\)\{0,1\}\([a-z0-9/-]*\): .*/\2/p')
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _larder larder
