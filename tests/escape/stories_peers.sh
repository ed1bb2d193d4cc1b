# Attacks by way of the agent: its policy, its sockets, its words, its own confinement. Sourced by ./run.

# By policy only; the stories after these have the policy that allows it, and are the control.
what_policy_forbids() {
	local kind
	for kind in host unconfined network; do
		is "$kind" "$(launch policy $kind /bin/true)" 'berthctl: .*(PERMISSION_DENIED).*'
	done
	is "a writable root" "$(writable=1 launch policy default /bin/true)" 'berthctl: .*policy.*'
	in_workload=",\"volumes\":[{\"name\":\"v\",\"hostDirectory\":{\"path\":\"$volume\"}}]"
	is "a directory of the host" "$(launch policy default /bin/true)" 'berthctl: .*AllowHostDirectories.*'
	in_workload=
	is "another root" "$(image=../../.. launch policy default /bin/true)" 'berthctl: .*(PERMISSION_DENIED|INVALID_ARGUMENT).*'
	is "a capability" "$("$berthctl" run --rm --name policy --root "$roots/plain" --cap SYS_ADMIN -- /bin/true 2>&1)" \
		'berthctl: .*(PERMISSION_DENIED|INVALID_ARGUMENT).*'
	isnt "what it allows" "$(launch policy default /bin/true)" 'berthctl: .*'
}
what_policy_allows() {
	local kind
	for kind in host unconfined network; do is "$kind" "$(launch policy $kind /bin/true)" ''; done
	is "a writable root" "$(writable=1 launch policy default /bin/true)" ''
}

# hold WORD: the probe stays, listening, until it loses its input.
hold() {
	local line out=$place/hold.out
	: > "$out"
	"$tests/escape_probe" alone "$1" <&"$never" > "$out" 2>&1 &
	holders+=($!)
	until_true grep -q listening "$out" || wrong "$1: $(< "$out")"
}

abstract_names() {
	is "of the host, as a workload on its network sees them" "$(launch e41 network /bin/probe abstract:berth-x)" 'abstract:berth-x none'
	hold hold-abstract:berth-control
	is "a name of the host, from a network of its own" "$(launch e41 default /bin/probe abstract:berth-control)" 'abstract:berth-control none'
	isnt "a name of the host, from its network" "$(launch e41 network /bin/probe abstract:berth-control)" 'abstract:berth-control none'
}

agent_sockets() {
	local kind output
	for kind in default network host; do
		output=$(launch e42 $kind /bin/probe unix:"$berthd_socket" unix:"$sandboxd_socket")
		is "berthd's, $kind" "$(answer "$output" "unix:$berthd_socket")" ENOENT
		is "berth-sandboxd's, $kind" "$(answer "$output" "unix:$sandboxd_socket")" ENOENT
	done
	isnt "from outside" "$("$tests/escape_probe" unix:"$berthd_socket" | sed 's/.* //')" ENOENT
	# Mounted in by an operator who did not think of it. In the VM they lie elsewhere.
	[ -z "${BERTH_IN_VM:-}" ] || return
	in_workload=",\"volumes\":[{\"name\":\"v\",\"hostDirectory\":{\"path\":\"$place/sockets\"}}]"
	in_container=',"mounts":[{"volume":"v","target":"/data"}]'
	output=$(launch e42 default /bin/probe talk:/data/berthd.sock talk:/data/sandboxd.sock)
	is "berthd's, mounted" "$(answer "$output" talk:/data/berthd.sock)" 'EACCES|ECONNRESET'
	is "berth-sandboxd's, mounted" "$(answer "$output" talk:/data/sandboxd.sock)" 'EACCES|ECONNRESET'
	isnt "berthd's, from outside" "$("$tests/escape_probe" talk:"$berthd_socket" | sed 's/.* //')" 'EACCES|ECONNRESET'
	in_workload= in_container=
}

networks() {
	local port=$((20000 + RANDOM % 10000)) output
	hold hold-inet:127.0.0.1:$port
	output=$(launch e43 default /bin/probe interfaces inet:127.0.0.1:$port inet:169.254.169.254:80)
	is "interfaces" "$(answer "$output" interfaces)" lo
	is "the host's loopback" "$(answer "$output" inet:127.0.0.1:$port)" ECONNREFUSED
	is "the host's loopback, with the host's ids" "$(launch e43 host /bin/probe inet:127.0.0.1:$port)" "inet:127.0.0.1:$port ECONNREFUSED"
	is "the metadata service" "$(answer "$output" inet:169.254.169.254:80)" ENETUNREACH
	start e43-listens default /bin/probe hold-inet:127.0.0.1:$port > /dev/null
	is "another workload's loopback" "$(launch e43 default /bin/probe inet:127.0.0.1:$port)" "inet:127.0.0.1:$port ECONNREFUSED"
	end e43-listens
	isnt "the host's loopback, on its network" "$(launch e43 network /bin/probe inet:127.0.0.1:$port)" "inet:127.0.0.1:$port ECONNREFUSED"
}

hostile_names_of_users() {
	local before after user
	before=$(memory_of "$sandboxd_pid")
	for user in $'root\nx' 'root:root:root' 'nobody here' '-1' 4294967296 04 '../etc' 'web,root' '٣'; do
		is "user $(printf %q "$user")" "$("$berthctl" run --rm --name e48 --root "$roots/plain" --user "$user" -- /bin/true 2>&1)" 'berthctl: .*'
	done
	is "HOME with a newline" "$("$berthctl" run --rm --name e48 --root "$roots/plain" -e $'HOME=/\nx::0:0::/:/bin/sh' -- /bin/true 2>&1)" '.*\(INVALID_ARGUMENT\).*'
	is "a passwd file of 4 GiB" "$("$berthctl" run --rm --name e48 --root "$roots/giant-passwd" --user web -- /bin/true 2>&1)" 'berthctl: .*'
	after=$(memory_of "$sandboxd_pid")
	[ $((after - before)) -lt 4096 ] || wrong "berth-sandboxd grew by $((after - before)) KiB"
	is "control: a user that there is" "$("$berthctl" run --rm --name e48 --root "$roots/plain" --user web -- /bin/probe ids 2>&1)" 'ids 1000:1000:1000'
}

# A workload that may write to its /etc is asked in vain; the agent neither waits nor reads another file.
hostile_passwd_while_running() {
	local file
	in_workload=',"volumes":[{"name":"t","tmpfs":{}}]'
	in_container=',"mounts":[{"volume":"t","target":"/etc"}]'
	start e48 default /bin/sleep 1000 > /dev/null
	is "control: without any" "$("$berthctl" exec -u 5 e48 /bin/probe ids 2>&1)" 'ids 5:5:0'
	for file in 'mkfifo passwd' 'ln -s /dev/zero passwd' 'ln -s /proc/kmsg passwd' 'ln -s passwd passwd' 'mkdir passwd'; do
		"$berthctl" exec e48 /bin/sh -c "cd /etc && /bin/busybox $file" > /dev/null 2>&1
		is "$file" "$(timeout 20 "$berthctl" exec -u web e48 /bin/probe ids 2>&1)" 'berthctl: .*'
		end e48
		start e48 default /bin/sleep 1000 > /dev/null
	done
	end e48
	in_workload= in_container=
}

hostile_ids() {
	local id long before
	long=$(printf 'a%.0s' {1..256})
	before=$(find "$logs" /sys/fs/cgroup -path '*berth*' -type d 2> /dev/null | sort | sha256sum)
	for id in .. . a/b ../x -x "$long" é A $'a\nb' 'a b' 'a.b' %s; do
		is "id $(printf %.20q "$id")" "$(spec x default /bin/true | sed "s|\"id\":\"x\"|\"id\":\"${id//$'\n'/\\\\n}\"|" | "$berthctl" run --rm -f - 2>&1)" \
			'berthctl: .*(INVALID_ARGUMENT|expected|id).*'
	done
	[ "$before" = "$(find "$logs" /sys/fs/cgroup -path '*berth*' -type d 2> /dev/null | sort | sha256sum)" ] ||
		wrong "a directory was made"
	isnt "id a" "$(launch a default /bin/true)" 'berthctl: .*'
}

# CVE-2026-53488, CVE-2024-3154: what is only to be carried along.
labels_are_text() {
	local value labels= n=0 output
	local values=("binary:///bin/touch?$place/marker" "\$(touch $place/marker)" "; touch $place/marker" '{"cdi":"vendor/x"}' \
		'org.systemd.property.ExecStart=/bin/sh')
	for value in "${values[@]}"; do
		value=${value//\\/\\\\}
		labels="$labels,\"l$((n++))\":\"${value//\"/\\\"}\""
	done
	in_workload=",\"labels\":{${labels#,}}"
	output=$(launch e50 default /bin/true)
	is "the launch" "$output" ''
	start e50 default /bin/sleep 1000 > /dev/null
	n=$(status_of e50 | grep -cF -e 'binary:///bin/touch' -e '$(touch' -e '; touch' -e 'org.systemd.property')
	[ "$n" -ge 4 ] || wrong "control: the labels are not told: $n"
	end e50
	[ ! -e "$place/marker" ] || wrong "a label was run"
	in_workload=
}

# CVE-2021-25743, CVE-2023-28101: what a workload writes, on an operator's terminal.
escapes_in_output() {
	local output text='\033]52;c;ZWNobyBv\007\033[2J\033[31mred\r\342\200\256over'
	command -v script > /dev/null || { wrong "there is no script(1)"; return; }
	"$berthctl" run --detach --name e63 --root "$roots/plain" -- /bin/sh -c "printf '$text\\n'; exit 3" > /dev/null
	until_true ended e63
	output=$(script -qec "$berthctl logs e63" /dev/null < /dev/null)
	[[ $output == *red* ]] || wrong "control: the line is not there"
	[[ $output != *$'\e'* && $output != *$'\u202e'* && $output != *$'\r'[^$'\n']* ]] || wrong "logs: $(printf %q "$output")"
	output=$(script -qec "$berthctl why e63" /dev/null < /dev/null)
	[[ $output != *$'\e]52'* && $output != *$'\e[2J'* && $output != *$'\u202e'* ]] || wrong "why: $(printf %q "$output")"
	output=$(script -qec "$berthctl --raw logs e63" /dev/null < /dev/null)
	[[ $output == *$'\e]52'* ]] || wrong "control: not even with --raw"
	end e63
}

field_of() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"; }
own_confinement() {
	is "berthd's capabilities" "$(field_of "$berthd_pid" CapPrm),$(field_of "$berthd_pid" CapEff)" '0000000000000000,0000000000000000'
	is "berthd's filter" "$(field_of "$berthd_pid" Seccomp),$(field_of "$berthd_pid" NoNewPrivs)" 2,1
	isnt "berthd's user" "$(field_of "$berthd_pid" Uid)" 0
	is "berth-sandboxd's filter" "$(field_of "$sandboxd_pid" Seccomp)" 2
	[ $((0x$(field_of "$sandboxd_pid" CapEff) & 1 << 16)) = 0 ] || wrong "berth-sandboxd has SYS_MODULE"
	[ $((0x$(field_of "$sandboxd_pid" CapEff) & 1 << 17)) = 0 ] || wrong "berth-sandboxd has SYS_RAWIO"
	[ $((0x$(field_of "$sandboxd_pid" CapBnd) & 1 << 25)) = 0 ] || wrong "berth-sandboxd may get SYS_TIME"
	is "control: our own filter and capabilities" "$(field_of $$ Seccomp),$((0x$(field_of $$ CapEff) & 1 << 25))" '.*,33554432'
}

# Code of an attacker's in berthd itself; then the same in a berthd that does not confine itself.
inside_berthd() {
	local attempt confined free
	local wanted='read:EACCES write:EACCES create:EACCES symlink:E.* mknod:E.* netlink:EPERM packet:EPERM bpf:EPERM
		io_uring_setup:EPERM keyctl:EPERM userfaultfd:EPERM unshare:EPERM clone:EPERM setns:EPERM mount:EPERM
		fork:EPERM execveat:E.* ptrace:EPERM kill:EPERM process_vm_readv:EPERM'
	mkdir -p "$place/inside"
	install -m 0755 -t "$place/inside" "$BERTH_BUILD/agent/berthd" "$tests/escape_inside.so" # nobody enters no /root
	sed -e "s|^Socket=.*berthd.sock|Socket=$place/for-all/sockets/inside.sock|" "$place/berthd.conf" > "$place/inside/berthd.conf"
	mkdir -p "$place/for-all/sockets" && chown nobody "$place/for-all/sockets"
	confined=$(run_inside)
	free=$(run_inside --no-confine)
	for attempt in $wanted; do
		is "${attempt%:*}" "$(answer "$confined" "inside:${attempt%:*}")" "${attempt#*:}"
	done
	for attempt in read write create fork netlink kill keyctl ptrace process_vm_readv; do
		isnt "$attempt without confinement" "$(answer "$free" "inside:$attempt")" 'E.*|'
	done
}
run_inside() {
	local output
	output=$(timeout 20 setpriv --reuid=nobody --regid=nogroup --clear-groups env LD_PRELOAD="$place/inside/escape_inside.so" \
		BERTH_ESCAPE_PLACE="$place" "$place/inside/berthd" --config "$place/inside/berthd.conf" "$@" 2>&1)
	rm -f "$place"/for-all/{new,link}
	echo "$output"
}

# Somebody has berthd: the suite of the private socket has the program; here for some seconds, another seed.
hostile_agent() {
	local output
	output=$(/usr/bin/python3 -B ../system/sandboxd/test_hostile.py "$BERTH_BUILD" 4 2>&1) ||
		wrong "$(tail -n 3 <<< "$output")"
	tail -n 3 <<< "$output"
}

costly_messages() {
	local output line
	output=$(/usr/bin/python3 -B bombs.py "unix://$berthd_socket" "$berthd_pid" 2>&1)
	for line in depth many-containers many-labels too-large huge-varint unknown-groups length-beyond-the-end not-utf-8 random memory control; do
		is "$line" "$(answer "$output" $line)" right
	done
	[ -z "$wrongs" ] || wrong "$(tail -n 2 <<< "$output")"
	kill -0 "$berthd_pid" || wrong "berthd is gone"
}

has_python() { /usr/bin/python3 -c "import $1" > /dev/null 2>&1; }

run_policy_stories() {
	story policy/forbids what_policy_forbids
}
run_peer_stories() {
	story policy/allows what_policy_allows
	on_host story E41/abstract-names abstract_names
	story E42/agent-sockets agent_sockets
	story E43/networks networks
	on_host story E48/hostile-names-of-users hostile_names_of_users
	on_host story E48/hostile-passwd-while-running hostile_passwd_while_running
	on_host story E49/hostile-ids hostile_ids
	on_host story E50/labels-are-text labels_are_text
	on_host story E63/escapes-in-output escapes_in_output
	on_host run_messages
	story E75/own-confinement own_confinement
}
run_messages() {
	if has_python google.protobuf; then story E71/hostile-agent hostile_agent
	else skip E71/hostile-agent "python3-protobuf is not installed"; fi
	if has_python grpc; then story E73/costly-messages costly_messages
	else skip E73/costly-messages "python3-grpcio is not installed"; fi
	story E75/inside-berthd inside_berthd
}
