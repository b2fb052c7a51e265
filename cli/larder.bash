# Completion of larder for bash. It asks the program itself, so it knows the commands and options that the program has.
# shellcheck shell=bash

_larder() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} larder=${COMP_WORDS[0]} words
	if ((COMP_CWORD == 1)); then
		words="$("$larder" --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p') --help --version"
	elif [[ $before == --instance ]]; then
		words=$(cd /run/larder 2>/dev/null && echo *)
	elif [[ $word == -* ]]; then
		words=$("$larder" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -e '--[a-z-]*')
	elif [[ ${COMP_WORDS[1]} == up || $before == --output || $before == -o ]]; then
		mapfile -t COMPREPLY < <(compgen -f -W 'text json' -- "$word")
		return
	else
		words=$("$larder" status 2>/dev/null | sed -n 's/^\(default\/\)\{0,1\}\([a-z0-9/-]*\): .*/\2/p')
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _larder larder
