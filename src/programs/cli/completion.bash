# SPDX-License-Identifier: Apache-2.0
# Completion of sealift(1) for bash. The words come from `sealift help`, so that they cannot differ
# from the program's own; names of VMs, hosts and migrations come from the engine if it answers.

_sealift_commands() { # [FIRST-WORD]: first words, or the second words after this one
	sealift help 2>/dev/null | awk -v first="${1-}" '
		/^  [a-z]/ { name = substr($0, 3, 16); split(name, w, " ");
			if (first == "") print w[1]; else if (w[1] == first && w[2] != "") print w[2] }' |
		sort -u
}

_sealift_options() { # COMMAND...
	{ sealift help "$@" 2>/dev/null || sealift help "$1" 2>/dev/null; } | awk '$1 ~ /^--/ { print $1 }'
	printf '%s\n' --json --socket --help
}

_sealift_names() { # MEMBER COMMAND...: this member of each object that the command prints
	local member=$1
	shift
	sealift --json "$@" 2>/dev/null | sed -n "s/.*\"$member\":\"\\([A-Za-z0-9._-]*\\)\".*/\\1/p"
}

_sealift() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=() word
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $word == -* ]] || words+=("$word")
	done
	case $prev in
	--root | --crl | --kernel | --qemu | --config | --socket | --dir | --twin | --dump)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	local choices
	case "${words[*]-}" in
	"") choices=$(_sealift_commands) ;;
	help | host | key | vm) choices=$(_sealift_commands "${words[0]}") ;;
	inspect)
		choices=
		if [[ $cur != -* ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
		fi
		;;
	"vm create" | "vm start" | "key root init")
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	migrate | "vm show" | "vm rekey" | "vm stop" | "key create" | "key list") choices=$(_sealift_names name vm list) ;;
	"host remove" | "migrate "*) choices=$(_sealift_names name hosts) ;;
	"host distrust") choices=$(_sealift_names domain hosts) ;;
	"key show" | "key rotate" | "key destroy") choices=$(_sealift_names id key list) ;;
	"key audit") choices=verify ;;
	"key root") choices=init ;;
	status | cancel | resolve) choices=$(_sealift_names migration status) ;;
	*) choices= ;;
	esac
	[[ ${words[0]-} == help && ${#words[@]} -eq 1 ]] && choices=$(_sealift_commands)
	if [[ $cur == -* ]]; then
		choices=$(_sealift_options "${words[@]:0:2}")
	fi
	mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
}

complete -F _sealift sealift
