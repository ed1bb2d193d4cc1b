# The host under attack: its daemons, its policy, its directories, and ways to launch. Sourced by ./run.
#
# On a host of its own (BERTH_IN_VM) the daemons are systemd's; elsewhere they are started here, with
# configuration, sockets, cgroups and logs of their own, berthd as nobody.

host_fail() { echo "not ok host: $*"; exit 1; }

# The attacker's images: plain has what attacks need; hostile has links where mounts go.
make_roots() {
	local root dir applet
	root=$roots/plain
	mkdir -p "$root"/{bin,proc,sys,dev,etc,tmp,data,nodes,lib64,m/{0,1,2,3,4,5,6,7}}
	cp "$tests/escape_probe" "$root/bin/probe"
	cp /bin/busybox "$root/bin/busybox"
	for applet in sh sleep cat echo true kill ls id yes; do ln -s busybox "$root/bin/$applet"; done
	printf 'root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n' > "$root/etc/passwd"
	printf 'root:x:0:\nweb:x:1000:\n' > "$root/etc/group"
	mknod "$root/nodes/zero" c 1 5
	mknod "$root/nodes/fuse" c 10 229
	chmod 666 "$root"/nodes/*
	cp "$tests/escape_probe" "$root/bin/probe-suid" && chmod 4755 "$root/bin/probe-suid"
	cp "$tests/escape_probe" "$root/bin/probe-caps"
	"$tests/escape_probe" setcap:"$root/bin/probe-caps" > /dev/null
	printf '#!/proc/self/exe\n' > "$root/bin/self" && chmod 755 "$root/bin/self"
	# What /proc/self/exe of a dynamic program is then started with.
	cp "$tests/escape_loader" "$root/lib64/ld-linux-x86-64.so.2"
	cp /bin/cat "$root/bin/dynamic"
	printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0\1\0\0\0%064d' 0 > "$root/bin/i386"
	chmod 755 "$root/bin/i386"
	for dir in dev proc sys data; do # one hostile image each
		root=$roots/hostile-$dir
		cp -a "$roots/plain" "$root"
		rm -rf "${root:?}/$dir"
	done
	ln -s /etc "$roots/hostile-dev/dev"
	ln -s /etc "$roots/hostile-proc/proc"
	ln -s ../../../../etc "$roots/hostile-sys/sys"
	ln -s /proc/sys "$roots/hostile-data/data"
	cp -a "$roots/plain" "$roots/hostile-null"
	ln -s /proc/sys/kernel/core_pattern "$roots/hostile-null/dev/null"
	ln -s /proc/sys/kernel "$roots/hostile-null/dev/pts"
	cp -a "$roots/plain" "$roots/giant-passwd"
	truncate -s 4G "$roots/giant-passwd/etc/passwd"
	mkdir -p "$volume" "$place/for-all"
	chmod 777 "$volume" "$place/for-all"
	touch "$place/for-all/file" && chmod 666 "$place/for-all/file"
}

# open_policy yes|no: what is by policy only
write_policy() {
	printf '[Policy]\nAllowRootDirectories=%s\nAllowHostIds=%s\nAllowUnconfined=%s\nAllowHostNetwork=%s\n' \
		"$roots" "$1" "$1" "$1"
	[ "$1" = no ] || printf 'AllowWritableRoot=%s\nAllowHostDirectories=%s:rw %s:rw\n' \
		"$roots" "$volume" "$place/sockets"
}
open_policy() {
	if [ -n "${BERTH_IN_VM:-}" ]; then
		mkdir -p /etc/berth/sandboxd.conf.d
		write_policy "$1" > /etc/berth/sandboxd.conf.d/escape.conf
		systemctl kill -s HUP berth-sandboxd
		systemctl restart berthd
		berthd_pid=$(systemctl show -P MainPID berthd)
	else
		{ write_policy "$1" && cat "$place/host.conf"; } > "$place/sandboxd.conf"
		kill -HUP "$sandboxd_pid"
		kill "$berthd_pid" && wait "$berthd_pid"
		start_berthd
	fi
	until_true "$berthctl" node
}

start_host() {
	if [ -n "${BERTH_IN_VM:-}" ]; then
		place=/var/lib/berth/escape logs=/var/log/berth/workloads
		sandboxd_socket=/run/berth/sandboxd.sock berthd_socket=/run/berth/berthd.sock
		berthctl=berthctl
	else
		place=/run/berth-escape logs=/run/berth-escape/log
		sandboxd_socket=$place/sockets/sandboxd.sock berthd_socket=$place/sockets/berthd.sock
		berthctl=$BERTH_BUILD/agent/cli/berthctl
		export BERTH_ADDRESS=unix://$berthd_socket
	fi
	roots=$place/roots volume=$place/volume
	[ ! -e "$place" ] || host_fail "$place is there: another run, or what is left of one"
	mkdir -p "$place" "$roots"
	make_roots
	if [ -n "${BERTH_IN_VM:-}" ]; then
		mkdir -p "$place/sockets"
		sandboxd_pid=$(systemctl show -P MainPID berth-sandboxd)
		berthd_pid=$(systemctl show -P MainPID berthd)
	else
		start_daemons
	fi
	open_policy no
}

start_daemons() {
	mkdir -p "$place"/{sandbox,sockets,log}
	chmod 755 "$place"
	chown nobody "$place/sockets"
	# What must not outlive a boot is on tmpfs.
	mount -t tmpfs -o mode=0700 berth-escape "$place/sandbox" || host_fail "cannot mount a tmpfs"
	printf '[Host]\nAgentUser=nobody\nCgroupParent=/berth-escape\nLogDirectory=%s\nRunDirectory=%s\nLayerDirectory=%s\n' \
		"$logs" "$place/sandbox" "$place/layers" > "$place/host.conf"
	printf '[Listen]\nSocket=%s\nSocketGroup=nogroup\n[Sandbox]\nSocket=%s\nLogDirectory=%s\n[Node]\nReserveMemory=64Mi\nReserveCpu=0\n[Store]\nDurable=no\n' \
		"$berthd_socket" "$sandboxd_socket" "$logs" > "$place/berthd.conf"
	{ write_policy no && cat "$place/host.conf"; } > "$place/sandboxd.conf"
	"$BERTH_BUILD/sandbox/berth-sandboxd" --config="$place/sandboxd.conf" --socket="$sandboxd_socket" \
		--monitor="$BERTH_BUILD/sandbox/monitor/berth-monitor" --unpack="$BERTH_BUILD/sandbox/unpack/berth-unpack" \
		--stop-workloads-on-exit \
		> "$place/sandboxd.log" 2>&1 &
	sandboxd_pid=$!
	until_there "$sandboxd_pid" "$sandboxd_socket" "$place/sandboxd.log"
	start_berthd
}
# It asks for the policy when it connects to the other daemon.
start_berthd() {
	setpriv --reuid=nobody --regid=nogroup --clear-groups "$BERTH_BUILD/agent/berthd" \
		--config "$place/berthd.conf" > "$place/berthd.log" 2>&1 &
	berthd_pid=$!
	until_true "$berthctl" node || { cat "$place/berthd.log"; host_fail "berthd does not answer"; }
}

# Wait for a condition that nothing announces to a shell; what is read from never comes.
exec {never}<> <(:)
until_true() {
	local deadline=$((SECONDS + 30))
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || return 1
		read -r -t 0.02 -u "$never" _
	done
	return 0
}
until_there() { # PID FILE LOG
	until_true test -e "$2" && kill -0 "$1" && return
	cat "$3"
	host_fail "$2 does not appear"
}

stop_host() {
	local pid
	trap - EXIT
	for pid in "${holders[@]}"; do kill "$pid"; done 2> /dev/null
	"$berthctl" -q ps --all | awk '{ print $1 }' | xargs -r "$berthctl" rm --force > /dev/null 2>&1
	if [ -n "${BERTH_IN_VM:-}" ]; then
		rm -f /etc/berth/sandboxd.conf.d/escape.conf
		systemctl kill -s HUP berth-sandboxd
	else
		for pid in ${berthd_pid:-} ${sandboxd_pid:-}; do kill "$pid" && wait "$pid"; done
		umount "$place/sandbox"
	fi 2> /dev/null
	rm -rf "$place"
}

# --- launching ---

# One container's workload as JSON. spec ID KIND COMMAND [ARG...]; KIND: default, strict, host, host-strict,
# unconfined, host-unconfined, network, host-network. Global: image, in_container and in_workload (", ..."),
# memory, pids.
spec() {
	local id=$1 kind=$2 command= word workload= sandbox=
	shift 2
	for word in "$@"; do command="$command,\"$word\""; done
	case $kind in host | host-*) workload=',"userNamespace":"USER_NAMESPACE_HOST"' ;; esac
	case $kind in network | host-network) workload="$workload,\"network\":\"NETWORK_HOST\"" ;; esac
	case $kind in
	*strict) sandbox=',"sandbox":{"strictProc":true}' ;;
	*unconfined) sandbox=',"sandbox":{"builtin":"unconfined"}' ;;
	esac
	printf '{"id":"%s"%s%s,"containers":[{"name":"main","root":{"directory":"%s"%s},"command":[%s]%s%s' \
		"$id" "$workload" "${in_workload-}" "$roots/${image:-plain}" "${writable:+,\"writable\":true}" \
		"${command#,}" "$sandbox" "${in_container-}"
	printf ',"resources":{"memoryLimitBytes":%d,"pidsLimit":%d}}]}\n' \
		$((${memory:-64} << 20)) "${pids:-64}"
}
# What it wrote, and berthctl's complaint if there is one; its exit code, or berthctl's.
launch() { spec "$@" | timeout 60 "$berthctl" run --rm -f - 2>&1; }
# Leave it running.
start() { spec "$@" | timeout 60 "$berthctl" run --detach -f - 2>&1; }
end() { "$berthctl" rm --force "$@" > /dev/null 2>&1; }
status_of() { "$berthctl" inspect "$1"; }

# Root of the host with all that it has, in the same root directory; its mounts and its network go with it. Not
# by chroot(2), in which the kernel makes no user namespaces.
bare() {
	unshare --mount --net --propagation private sh -c '
		mount --bind "$0" "$0" && cd "$0" && mount --rbind /proc proc && mount --rbind /sys sys &&
			mount --rbind /dev dev && pivot_root . . &&
			exec /bin/busybox sh -c "/bin/busybox umount -l . && cd / && exec \"\$@\"" sh "$@"' \
		"$roots/${image:-plain}" "$@" 2>&1
}
# The answer to one attack in the output of a probe.
answer() { sed -n "s|^$2 ||p" <<< "$1" | head -n 1; }
