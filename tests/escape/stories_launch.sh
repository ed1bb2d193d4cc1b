# Attacks on the moment of the launch: what is inherited, mounted, mapped; and on how an end is told.
# Sourced by ./run.

programs() { sha256sum "$1"/* 2> /dev/null; }
berth_programs() {
	local pid
	for pid in "$sandboxd_pid" "$berthd_pid"; do sha256sum < "/proc/$pid/exe"; done
	sha256sum "$(command -v "$berthctl")" "$(find "$BERTH_BUILD/sandbox/monitor" /usr/libexec/berth -name berth-monitor 2> /dev/null | head -n 1)"
}

# CVE-2019-5736. An image's "#!/proc/self/exe" and its own loader get hold of whichever program runs it, while
# another process looks at all programs that are born beside it.
overwrite_program() {
	local before kind
	before=$(berth_programs)
	for kind in default host; do overwrite_from $kind; done
	[ "$(berth_programs)" = "$before" ] || wrong "the agent's programs have changed"
	# The same loader, in the program of a process that nothing protects.
	isnt "writing to a program" "$(answer "$(bare /bin/dynamic)" reopen:9)" 'EROFS|EACCES|ENOENT|EPERM|'
}
overwrite_from() { # KIND
	local output _
	start e01 "$1" /bin/probe watch-programs:3 > /dev/null
	for _ in {1..10}; do
		output=$("$berthctl" exec e01 /bin/self 2>&1)
		is "$1: a program of the agent, through an image's #!" "$output" 'reopen:9 (EROFS|EACCES|ENOENT|EPERM)|berthctl: .*'
	done
	echo "E01: $1: $output"
	until_true ended e01
	output=$("$berthctl" logs e01)
	is "$1: what the watcher got" "${output##* }" 'saw-many'
	end e01
}
ended() { "$berthctl" inspect "$1" | grep -qE '"(EXITED|BACKOFF)"'; }

# CVE-2024-21626: a directory of the host, left open, as the working directory.
leaked_directory() {
	local output n
	for n in fd/{3..12} cwd root/../..; do
		in_container=",\"workingDir\":\"/proc/self/$n\""
		output=$(launch e02 default /bin/probe cwd)
		is "working directory /proc/self/$n" "$output" '(berthctl: .*(working directory|workingDir|working_dir).*)|(cwd inside)'
	done
	in_container=
	start e02 default /bin/sleep 1000 > /dev/null
	for n in 3 4 7 10; do
		output=$("$berthctl" exec -w /proc/self/fd/$n e02 /bin/probe cwd 2>&1)
		is "exec in /proc/self/fd/$n" "$output" 'berthctl: .*|cwd inside'
	done
	end e02
	is "the root" "$(launch e02 default /bin/probe cwd:/)" 'cwd:/ inside'
	isnt "a directory left open" "$( (exec 7< /; bare /bin/probe cwd:/proc/self/fd/7) )" 'cwd:/proc/self/fd/7 inside'
}

inherited_descriptors() {
	local output
	is "of a container" "$(launch e03 default /bin/probe fds fds:1)" $'fds 0,1,2\nfds:1 0,1,2'
	is "with the host's ids" "$(launch e03 host /bin/probe fds fds:1)" $'fds 0,1,2\nfds:1 0,1,2'
	start e03 default /bin/sleep 1000 > /dev/null
	is "of a session" "$("$berthctl" exec e03 /bin/probe fds)" 'fds 0,1,2'
	end e03
	output=$( (for _ in {1..50}; do exec {fd}< /; done; bare /bin/probe fds) )
	isnt "of a program started by hand" "$output" 'fds 0,1,2'
}

# The first process has no channel that a child could lie through; what the kernel says is what is recorded.
forged_end() {
	local output code
	output=$(launch e06 default /bin/sh -c '/bin/probe ptrace:1 fds:1; exit 42')
	code=$?
	is "the exit code" $code 42
	is "descriptors of the first process" "$(answer "$output" fds:1)" '0,1,2'
	output=$(launch e06 default /bin/sh -c 'exit 43')
	isnt "the exit code" $? 42
}

false_kill() {
	local record
	spec e07 default /bin/sh -c 'exit 137' | "$berthctl" run -f - > /dev/null 2>&1
	is "exit code of berthctl" $? 137
	record=$(status_of e07)
	is "the record of exit 137" "$(grep -oE '"(kind|code|oomKilled|signal)": [^,]*' <<< "$record" | tr '\n' ' ')" '"kind": "EXIT_CODE" "code": 137 ' 
	end e07
	is "after kill -9 1" "$(launch e07 default /bin/sh -c 'kill -9 1; (kill -9 1); echo alive')" alive
	start e07 default /bin/sleep 1000 > /dev/null
	"$berthctl" kill -s KILL e07
	until_true ended e07
	isnt "the record of a kill from outside" "$(status_of e07 | grep -oE '"kind": [^,]*' | head -n 1)" '"kind": "EXIT_CODE"'
	end e07
}

# CVE-2025-31133, CVE-2025-52565, CVE-2026-41579, CVE-2019-19921: links of the image where the runtime mounts.
links_in_the_image() {
	local output kind
	for image in hostile-dev hostile-proc hostile-sys hostile-null; do
		output=$(launch e09 default /bin/probe openr:/proc/keys openw:/proc/sys/kernel/core_pattern \
			openr:/etc/shadow writable-parts:proc writable-parts:sysfs openw:/dev/null devices)
		[[ $output != berthctl:* ]] || continue # refused
		is "$image: keys" "$(answer "$output" openr:/proc/keys)" 'ENODATA|ENOENT'
		is "$image: core_pattern" "$(answer "$output" openw:/proc/sys/kernel/core_pattern)" 'EROFS|EACCES|ENOENT'
		is "$image: writable parts of proc" "$(answer "$output" writable-parts:proc)" 'none|ENOENT'
		is "$image: writable parts of sysfs" "$(answer "$output" writable-parts:sysfs)" 'none|ENOENT'
		is "$image: devices" "$(answer "$output" devices)" 'none'
	done
	image=hostile-null
	is "/dev/null of that image" "$(answer "$(launch e09 default /bin/probe openw:/dev/null)" openw:/dev/null)" OK
	output=$(readlink "$roots/hostile-null/dev/null")
	isnt "what the link leads to" "$output" '/dev/null'
	is "writing through it by hand" "$(image=plain; "$tests/escape_probe" openw:"$roots/hostile-null/dev/null" | sed 's/.* //')" OK
}

# CVE-2021-30465, CVE-2021-25741: the directory of a volume becomes a link to the host's root.
volume_race() {
	local mounts= targets=() i rounds=0 mounted=0 output bad won deadline
	in_workload=",\"volumes\":[{\"name\":\"v\",\"hostDirectory\":{\"path\":\"$volume\"}}]"
	in_container=',"mounts":[{"volume":"v","target":"/data"}]'
	start e12-swap default /bin/probe swap:/data > /dev/null
	until_true test -d "$volume/dir" || wrong "nobody swaps: $("$berthctl" logs e12-swap 2>&1)"
	for i in 0 1; do
		mounts="$mounts,{\"volume\":\"v\",\"target\":\"/m/$i\",\"subPath\":\"dir\"}"
		targets+=("mount-root:/m/$i")
	done
	in_container=",\"mounts\":[${mounts#,}]"
	deadline=$((SECONDS + 9))
	while [ $SECONDS -lt $deadline ] && [ -z "$wrongs" ]; do
		output=$(launch e12 default /bin/probe "${targets[@]}")
		rounds=$((rounds + 2))
		[[ $output != 'berthctl: e12: container main cannot be started (volumes)'* ]] || continue # seen, and refused
		mounted=$((mounted + 1))
		bad=$(grep -vE "^mount-root:/m/. (.*)?${volume##*/}(/dir|/link)?$" <<< "$output")
		[ -z "$bad" ] || wrong "after $rounds mounts: $bad"
	done
	[ $mounted -gt 0 ] || wrong "never mounted: $output"
	echo "E12: $rounds mounts of a directory that was being swapped"
	mkdir -p "$place/by-hand"
	won=$(unshare --mount --propagation private "$tests/escape_probe" "mount-by-name:$volume/dir:$place/by-hand:30")
	is "by lstat and mount" "${won##* }" escaped
	end e12-swap
	in_workload= in_container=
}

mounts_over_the_kernels() {
	local target output
	for target in /proc /proc/self //proc/. /proc/sys/kernel /sys /sys/fs /sys/fs/cgroup /dev /dev/pts /data/../proc /; do
		output=$("$berthctl" run --rm --name e13 --root "$roots/plain" --tmpfs "$target" -- /bin/true 2>&1)
		is "a tmpfs at $target" "$output" '.*\(INVALID_ARGUMENT\).*'
	done
	output=$("$berthctl" run --rm --name e13 --root "$roots/plain" --tmpfs /data -- /bin/probe mounts-of:tmpfs 2>&1)
	isnt "a tmpfs at /data" "$output" '.*\(INVALID_ARGUMENT\).*'
	# A link of the image that leads there.
	output=$("$berthctl" run --rm --name e13 --root "$roots/hostile-data" --tmpfs /data -- /bin/probe mounts-of:tmpfs 2>&1)
	is "a tmpfs at a link to /proc/sys" "$output" 'berthctl: .*|mounts-of:tmpfs [^ ]*'
	isnt "a tmpfs at a link to /proc/sys" "$output" 'mounts-of:tmpfs .*/proc/sys.*'
}

# Without the filter it is the kernel's count that forbids; without a user namespace nothing does.
count_of_namespaces() {
	is "unconfined" "$(launch e20 unconfined /bin/probe unshare:user)" 'unshare:user ENOSPC'
	is "unconfined with the host's ids" "$(launch e20 host-unconfined /bin/probe unshare:user)" 'unshare:user OK'
}

set_user_id() {
	local program
	for program in probe-suid probe-caps; do
		in_container=',"identity":{"user":"1000:1000"}'
		is "$program" "$(launch e27 default /bin/$program ids status:CapEff)" $'ids 1000:1000:1000\nstatus:CapEff 0000000000000000'
		is "$program with the host's ids" "$(launch e27 host /bin/$program ids status:CapEff)" $'ids 1000:1000:1000\nstatus:CapEff 0000000000000000'
		isnt "$program by hand" "$(setpriv --reuid=1000 --regid=1000 --clear-groups "$roots/plain/bin/$program" ids status:CapEff 2>&1)" \
			$'ids 1000:1000:1000\nstatus:CapEff 0000000000000000'
	done
	in_container=
}

foreign_program() {
	is "the sentence" "$(launch e35 default /bin/i386 | head -n 1)" '.*is a program for i386.*'
	isnt "of a program of this processor" "$(launch e35 default /bin/true)" '.*i386.*'
}

# On a terminal that an operator looks at.
typed_into_terminal() {
	local output
	command -v script > /dev/null || { wrong "there is no script(1)"; return; }
	output=$(on_terminal /bin/probe tiocsti tiocsti:high tioclinux)
	is "typing" "$(answer "$output" tiocsti)" EPERM
	is "typing, with high bits" "$(answer "$output" tiocsti:high)" EPERM
	is "pasting" "$(answer "$output" tioclinux)" EPERM
	output=$(on_terminal --unconfined /bin/probe tiocsti)
	isnt "typing without the filter" "$(answer "$output" tiocsti)" 'EPERM|'
}
# It waits for a line, so that nothing is said before somebody looks.
on_terminal() {
	local option=
	[ "$1" != --unconfined ] || { option=$1; shift; }
	echo go | script -qec "$berthctl run --rm --name e37 --root $roots/plain $option -i -t -- /bin/sh -c 'read x; $*'" /dev/null |
		tr -d '\r'
}

run_launch_stories() {
	on_host story E01/overwrite-program overwrite_program
	on_host story E02/leaked-directory leaked_directory
	story E03/inherited-descriptors inherited_descriptors
	on_host story E06/forged-end forged_end
	on_host story E07/false-kill false_kill
	on_host story E09/links-in-the-image links_in_the_image
	on_host story E12/volume-race volume_race
	on_host story E13/mounts-over-the-kernels mounts_over_the_kernels
	story E20/count-of-namespaces count_of_namespaces
	on_host story E27/set-user-id set_user_id
	on_host story E35/foreign-program foreign_program
	story E37/typed-into-terminal typed_into_terminal
}
