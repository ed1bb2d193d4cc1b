# The rows of ./attacks, all of them in one workload of each kind. Sourced by ./run.

fits() { [[ $1 =~ ^($2)$ ]]; }

# learn KIND OUTPUT: each line "ATTACK ANSWER" into answers[KIND ATTACK].
learn() {
	local attack have
	complaint[$1]=${2:0:300}
	while read -r attack have; do
		[ -z "$attack" ] || answers["$1 $attack"]=$have
	done <<< "$2"
}

check_answer() { # KIND ATTACK WANT
	local have=${answers["$1 $2"]-}
	fits "$have" "$3" || wrong "$1: '${have:-${complaint[$1]}}' instead of '$3'"
}

run_row() {
	local name=$1 attack=$2 default=$3 strict=$4 host=$5 host_strict=$6 control=$7 have
	[ "$strict" != = ] || strict=$default
	[ "$host" != = ] || host=$default
	[ "$host_strict" != = ] || host_strict=$strict
	wrongs=
	check_answer default "$attack" "$default"
	check_answer strict "$attack" "$strict"
	check_answer host "$attack" "$host"
	check_answer host-strict "$attack" "$host_strict"
	if [ "$control" != - ]; then
		have=${answers["$control $attack"]-}
		if [ -z "$wrongs" ] && [ "$control" = bare ] && [[ $have = ENOENT || $have = ENODATA ]]; then
			skip "$name" "this host has no ${attack#*:}, or nothing in it"
			return
		fi
		[ -n "$have" ] || wrong "the control ($control) gave no answer: ${complaint[$control]}"
		! fits "$have" "$default" || wrong "the control ($control) answers '$have' too"
	fi
	if [ -z "$wrongs" ]; then ok "$name"; else not_ok "$name" "${wrongs//$'\n'/ | }"; fi
}

run_table() {
	local row attacks kind
	declare -A answers complaint
	mapfile -t attacks < <(awk '!/^#/ && NF { print $2 }' attacks)
	image= in_container= in_workload= memory= pids= writable=
	for kind in default strict host host-strict; do
		learn $kind "$(launch "t-$kind" "$kind" /bin/probe "${attacks[@]}")"
	done
	learn bare "$(bare /bin/probe "${attacks[@]}")"
	while read -r -a row; do
		[[ ${#row[@]} = 0 || ${row[0]} = \#* ]] || run_row "${row[@]}"
	done < attacks
}
