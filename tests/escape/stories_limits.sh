# More than there is: processes, memory, disk, output. Sourced by ./run.

# Sum of a file of the cgroups whose path has @2 in it, in whatever layout; 0 where there are none.
group_value() { # FILE WORKLOAD
	find /sys/fs/cgroup -path "*workloads*/$2.*" -name "$1" -exec cat {} + 2> /dev/null | sort -n | tail -n 1 | grep .
}
oom_kills_elsewhere() { awk '/^oom_kill / { print $2 }' /proc/vmstat; }
memory_of() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }

fork_bomb() {
	local most id=e53 answer_of_the_agent
	pids=32 start $id default /bin/probe alone fork-forever:60 > "$place/bomb" || wrong "it does not start: $(< "$place/bomb")"
	until_true group_value pids.current $id
	most=$(group_value pids.current $id)
	answer_of_the_agent=$(timeout 20 "$berthctl" ps --all) || wrong "berthd does not answer beside it"
	[ -n "$answer_of_the_agent" ] || wrong "berthd says nothing beside it"
	for _ in {1..20}; do
		[ "$(group_value pids.current $id)" -le "${most:-0}" ] 2> /dev/null || most=$(group_value pids.current $id)
	done
	[ "${most:-0}" -gt 8 ] || wrong "the bomb did not go off: ${most:-no} processes"
	[ "${most:-99}" -le 32 ] || wrong "$most processes instead of 32"
	end $id
	is "processes left" "$(pgrep -cf 'probe alone fork-forever')" 0
	is "as its first instruction" "$(pids=16 launch $id default /bin/probe forks:1000)" 'forks:1000 1[0-5]'
	isnt "with a higher limit" "$(pids=400 launch $id default /bin/probe forks:300)" 'forks:300 1[0-5]'
}

# in: 16 MiB for the kind, asked for: 48.
memory_bomb() { # KIND
	local kind=$1 before after record
	before=$(oom_kills_elsewhere)
	in_workload=',"volumes":[{"name":"t","tmpfs":{"sizeBytes":268435456}}]'
	in_container=',"mounts":[{"volume":"t","target":"/tmp"}]'
	memory=16 spec e54 default /bin/probe alone memory:$kind:48 | timeout 60 "$berthctl" run -f - > "$place/bomb" 2>&1
	record=$(status_of e54)
	after=$(oom_kills_elsewhere)
	end e54
	if grep -q '"oomKilled": true' <<< "$record"; then
		grep -q '"memory limit' <<< "$record" || grep -q OOM_KILLED <<< "$record" || wrong "$kind: the reason is not told"
		[ "$before" != "$after" ] || wrong "$kind: no oom_kill was counted"
	else
		is "$kind: without an oom kill" "$(answer "$(< "$place/bomb")" memory:$kind:48)" 'ENOMEM|ENOSPC|ENOBUFS'
	fi
	kill -0 "$berthd_pid" && kill -0 "$sandboxd_pid" || wrong "$kind: a daemon is gone"
	is "$kind: within a higher limit" "$(memory=400 launch e54 default /bin/probe memory:$kind:48)" "memory:$kind:48 OK"
}
memory_bombs() {
	local kind kinds="anon memfd tmpfs shm tables sockets pipes"
	[ -z "${BERTH_IN_VM:-}" ] || kinds="anon tables shm"
	for kind in $kinds; do memory_bomb $kind; done
	in_workload= in_container=
}

locked_memory() {
	local output
	output=$(memory=32 launch e55 default /bin/probe mlock:64)
	[[ $output != *OOM* ]] || output="mlock:64 SIGKILL" # on cgroup v2 the first process goes too
	is "mlock of twice the limit" "$(answer "$output" mlock:64)" 'ENOMEM|EPERM|EAGAIN|SIGKILL'
	isnt "mlock by hand" "$(answer "$("$tests/escape_probe" mlock:64)" mlock:64)" 'ENOMEM|EPERM|EAGAIN|SIGKILL'
}

free_kib() { df --output=avail -k "$1" | tail -n 1; }
filled_disk() {
	local before after output
	in_workload=',"volumes":[{"name":"t","tmpfs":{"sizeBytes":16777216}},{"name":"e","emptyDirectory":{"sizeBytes":16777216}}]'
	in_container=',"mounts":[{"volume":"t","target":"/tmp"},{"volume":"e","target":"/data"}]'
	before=$(free_kib "$place")
	is "all that can be written to" "$(memory=400 launch e57 default /bin/probe disk:128)" 'disk:128 all-bounded'
	is "with the host's ids" "$(memory=400 launch e57 host /bin/probe disk:128)" 'disk:128 all-bounded'
	after=$(free_kib "$place")
	[ $((before - after)) -lt 65536 ] || echo "E57: $((before - after)) KiB less on the host, by others maybe"
	in_workload= in_container=
	is "a writable root" "$(writable=1 launch e57 default /bin/probe create:/etc/new create:/data/new)" $'create:/etc/new (OK|EACCES)\ncreate:/data/new (OK|EACCES)'
	isnt "a writable root with the host's ids" "$(writable=1 launch e57 host /bin/probe create:/etc/new)" 'create:/etc/new (EROFS|EACCES)'
	is "a read-only root with the host's ids" "$(launch e57 host /bin/probe create:/etc/new)" 'create:/etc/new EROFS'
}

log_flood() { # lines or giant
	local shape=$1 seconds=2 output size id=e58 monitor rss written kept dropped
	in_container=',"log":{"maxFileBytes":1048576,"maxFiles":2}'
	start $id default /bin/probe log:$seconds:$shape > /dev/null
	monitor=$(pgrep -f "berth-monitor: $id/main" | head -n 1)
	until_true ended $id
	rss=$(awk '/^VmHWM/ { print $2 }' "/proc/${monitor:-none}/status" 2> /dev/null)
	size=$(du -sk "$logs/$id" | cut -f1)
	output=$("$berthctl" inspect $id)
	kept=$(sed -n 's/.*"logBytes": "\([0-9]*\)".*/\1/p' <<< "$output" | tail -n 1)
	dropped=$(sed -n 's/.*"logDroppedBytes": "\([0-9]*\)".*/\1/p' <<< "$output" | tail -n 1)
	written=$("$berthctl" logs $id 2>&1 | grep -oaE "^log:$seconds:$shape [0-9]+" | cut -d' ' -f2)
	end $id
	[ "${size:-9999}" -le $((3 * 1024)) ] || wrong "$size KiB of logs, with a limit of 2 files of 1 MiB"
	[ "${kept:-0}" -gt $((4 << 20)) ] || wrong "only ${kept:-no} bytes came through in $seconds s"
	# A newline is no content; there is one in 64 bytes, or none.
	[ "$shape" != lines ] || written=$((${written:-0} / 64 * 63))
	[ $((kept + ${dropped:-0} - ${written:-0})) -lt 65536 ] && [ $((kept + ${dropped:-0})) -ge "${written:-0}" ] ||
		wrong "$kept bytes logged and ${dropped:-0} dropped of ${written:-0}"
	[ "${rss:-0}" -le 8192 ] || wrong "the monitor used $rss KiB"
	in_container=',"log":{"maxFileBytes":1048576,"maxFiles":20}'
	start $id default /bin/probe log:$seconds:$shape > /dev/null
	until_true ended $id
	[ "$(du -sk "$logs/$id" | cut -f1)" -gt $((3 * 1024)) ] || wrong "control: no more with a higher limit"
	end $id
	in_container=
}
log_of_lines() { log_flood lines; }
log_of_one_line() {
	local before after bytes
	before=$(memory_of "$berthd_pid")
	log_flood giant
	start e59 default /bin/sleep 1000 > /dev/null
	bytes=$("$berthctl" exec e59 /bin/probe log:1:giant 2> /dev/null | wc -c)
	end e59
	after=$(memory_of "$berthd_pid")
	[ "$bytes" -gt 1000000 ] || wrong "only $bytes bytes came through a session"
	[ $((after - before)) -lt 32768 ] || wrong "berthd grew by $((after - before)) KiB"
}

run_limit_stories() {
	story E53/fork-bomb fork_bomb
	story E54/memory-bombs memory_bombs
	story E55/locked-memory locked_memory
	on_host story E57/filled-disk filled_disk
	on_host story E58/log-flood log_of_lines
	on_host story E59/one-giant-line log_of_one_line
}
