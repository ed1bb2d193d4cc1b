#include "agent/cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/options.h"

const struct verb verbs[] = {
	{ "run",
	  "[OPTIONS] [--] IMAGE [ARG...]  |  --root DIR [OPTIONS] [--] COMMAND [ARG...]  |  -f SPEC.json",
	  "launch a workload",
	  "  -f, --file FILE        the whole spec as JSON (WorkloadSpec); - reads standard input\n"
	  "  -n, --name ID          its id; default: run- and a random number\n"
	  "  -r, --root DIR         root filesystem: a directory that the host's policy allows;\n"
	  "                         without it an image of a registry: its entrypoint gets the ARGs,\n"
	  "                         or what it has itself for arguments\n"
	  "      --entrypoint PROGRAM   instead of the image's; may be repeated, for arguments\n"
	  "      --pull WHEN        missing (the default), always, never\n"
	  "  -d, --detach           print the id and end; otherwise follow the output to the end\n"
	  "  -i, --interactive      keep stdin open, and connect to it\n"
	  "  -t, --tty              give it a terminal\n"
	  "      --rm               delete it when it has ended\n"
	  "  -m, --memory SIZE      memory limit: 64Mi\n"
	  "  -c, --cpu CPUS         cpu limit: 0.5 or 500m\n"
	  "      --cpu-request CPUS, --memory-request SIZE   what admission subtracts\n"
	  "  -p, --pids N           processes and threads\n"
	  "  -e, --env NAME=VALUE   may be repeated\n"
	  "  -w, --workdir DIR\n"
	  "  -u, --user USER[:GROUP]\n"
	  "      --cap NAME         a capability; may be repeated\n"
	  "  -l, --label KEY=VALUE  may be repeated\n"
	  "      --tmpfs DIR[=SIZE] a tmpfs; may be repeated\n"
	  "  -v, --volume HOST:DIR[:ro]  a host directory, by policy; may be repeated\n"
	  "      --writable         the root filesystem may be written\n"
	  "      --writable-size SIZE   the same for an image, so much at most; default: 1Gi\n"
	  "      --restart MODE     never, on-failure, always\n"
	  "      --restart-rule ENDS=ACTION  before MODE: exit codes, signals, oom; restart, stop,\n"
	  "                         fail: 3,SEGV,oom=fail; may be repeated, the first that fits\n"
	  "      --stop-after-disconnect DURATION  when this scheduler is silent for so long\n"
	  "      --liveness-exec COMMAND, --liveness-http PORT[/PATH], --liveness-tcp PORT,\n"
	  "      --liveness-grpc PORT[/SERVICE]   whether it works; else it is ended\n"
	  "      --liveness-delay, --liveness-period, --liveness-timeout DURATION,\n"
	  "      --liveness-failures N\n"
	  "      --readiness-...    the same, whether it is ready; --readiness-successes N\n"
	  "      --startup-...      the same, whether it is up; before that nothing else is asked\n"
	  "      --band BAND        critical, production, batch, best-effort\n"
	  "      --host-network, --host-ids, --unconfined    by policy\n"
	  "      --seccomp FILE     an OCI seccomp profile\n"
	  "      --generation N     default: one more than this host has seen of the id\n",
	  verb_run },
	{ "ps", "[-a] [-l KEY=VALUE...]", "list workloads",
	  "  -a, --all              those that have ended too\n"
	  "  -l, --label KEY=VALUE  only with this label; may be repeated\n",
	  verb_ps },
	{ "inspect", "[--spec] ID...", "spec and status of workloads, as JSON",
	  "      --spec             the spec alone, as `run -f` reads it\n", verb_inspect },
	{ "logs", "[OPTIONS] ID [CONTAINER]", "what a workload wrote",
	  "  -f, --follow           go on until it ends\n"
	  "  -n, --tail N           only the last N lines\n"
	  "      --since DURATION   only lines younger than that: 10m\n"
	  "  -t, --timestamps\n",
	  verb_logs },
	{ "exec", "[-i] [-t] [OPTIONS] ID [--] COMMAND [ARG...]", "run a program in a container",
	  "  -i, --interactive      pass standard input on\n"
	  "  -t, --tty              in a terminal\n"
	  "  -c, --container NAME   default: the only main container\n"
	  "  -e, --env NAME=VALUE, -w, --workdir DIR, -u, --user USER[:GROUP]\n",
	  verb_exec },
	{ "attach", "ID [CONTAINER]", "the streams of a container's first process", NULL,
	  verb_attach },
	{ "stats", "[-i MS] [-n COUNT] [ID...]", "what workloads use, live",
	  "  -i, --interval MS      default 1000, from 100\n"
	  "  -n, --count N          end after N reports\n",
	  verb_stats },
	{ "events", "[-f] [--after N] [ID]", "what happened",
	  "  -f, --follow           go on\n"
	  "      --after N          only after this sequence number\n",
	  verb_events },
	{ "records", "[-f] [-a] [ID]  |  --ack N", "how containers ended, as kept for schedulers",
	  "                         those that no scheduler has acknowledged\n"
	  "  -a, --all              all that are kept\n"
	  "  -f, --follow           go on\n"
	  "      --ack N            acknowledge all up to sequence number N\n",
	  verb_records },
	{ "why", "ID", "what happened to a workload, and why, for people", NULL, verb_why },
	{ "stop", "[-g DURATION] ID...", "signal, grace, kill",
	  "  -g, --grace DURATION   instead of the workload's own; 0 kills at once\n", verb_stop },
	{ "rm", "[-f] ID...", "forget ended workloads",
	  "  -f, --force            stop them first\n", verb_rm },
	{ "kill", "[-s SIGNAL] [-a] ID [CONTAINER]", "send a signal",
	  "  -s, --signal SIGNAL    default TERM\n"
	  "  -a, --all              to all processes, not only the first\n",
	  verb_kill },
	{ "pause", "ID...", "freeze all processes", NULL, verb_pause },
	{ "resume", "ID...", "thaw them", NULL, verb_resume },
	{ "resize", "[OPTIONS] ID [CONTAINER]", "change limits in place",
	  "  -m, --memory SIZE, -c, --cpu CPUS, -p, --pids N\n"
	  "      --cpu-request CPUS, --memory-request SIZE, --cpu-weight N\n",
	  verb_resize },
	{ "reconcile", "-f FILE [--dry-run]", "make the host run exactly a set of workloads",
	  "  -f, --file FILE        JSON: {\"desired\": [{\"generation\": 1, \"spec\": {...}}, ...]}\n"
	  "      --dry-run          say what would happen and why\n",
	  verb_reconcile },
	{ "image",
	  "pull NAME...  |  ls  |  inspect NAME...  |  rm NAME...  |  verify NAME...  |  usage  |  gc",
	  "images of registries on the host",
	  "  pull                   have it as the registry has it now: nginx, registry:5000/app:1.2,\n"
	  "                         app@sha256:...\n"
	  "  -u, --user NAME, --password-stdin   for this pull; else the host's own credentials\n"
	  "  ls                     those that are here\n"
	  "  inspect                configuration and layers, as JSON\n"
	  "  rm                     forget it, and remove what no other one needs\n"
	  "  verify                 read all of it again, and compare it with its digests\n"
	  "  usage                  what they take of the disk\n"
	  "  gc                     remove what none needs: what pulls that failed have left\n",
	  verb_image },
	{ "node", "", "what the host is, has and can do", NULL, verb_node },
	{ "drain", "[-d DURATION] [-m TEXT]", "accept no workloads",
	  "  -d, --deadline DURATION  stop all workloads too, by then\n"
	  "  -m, --message TEXT       why\n",
	  verb_drain },
	{ "undrain", "", "accept workloads again", NULL, verb_undrain },
};

const size_t verb_count = ARRAY_SIZE(verbs);

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < verb_count; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int verb_misused(const char *name, const char *why)
{
	const struct verb *verb = verb_find(name);

	if (why)
		(void)cli_fail(CLI_USAGE, "%s: %s", name, why);
	(void)fprintf(stderr, "usage: berthctl %s %s\n", verb->name, verb->arguments);
	if (verb->help)
		(void)fprintf(stderr, "berthctl %s --help lists the options\n", verb->name);
	return CLI_USAGE;
}

static void print_help(const struct verb *verb)
{
	(void)printf("usage: berthctl %s %s\n%s: %s\n%s", verb->name, verb->arguments, verb->name,
		     verb->summary, verb->help ? verb->help : "");
}

int verb_next_option(struct cli *cli, int argc, char **argv, const char *letters,
		     const struct option *options)
{
	struct option all[VERB_OPTIONS_MAX + CLI_OPTIONS_COUNT + 1];
	char all_letters[64];
	size_t n = 0;

	while (options && options[n].name && n < VERB_OPTIONS_MAX) {
		all[n] = options[n];
		n++;
	}
	memcpy(all + n, cli_options, sizeof(cli_options));
	(void)snprintf(all_letters, sizeof(all_letters), "%s" CLI_SHORT_OPTIONS, letters);
	for (;;) {
		int option = getopt_long(argc, argv, all_letters, all, NULL);
		int code;

		if (option < 0 || !cli_has_option(option))
			return option;
		if (option == 'h') {
			print_help(verb_find(argv[0]));
			exit(CLI_OK);
		}
		code = cli_take_option(cli, option);
		if (code == CLI_OK)
			exit(CLI_OK); /* --version */
		if (code > 0)
			return '?';
	}
}

bool verb_has_no_options(struct cli *cli, int argc, char **argv)
{
	return verb_next_option(cli, argc, argv, "", NULL) < 0;
}
