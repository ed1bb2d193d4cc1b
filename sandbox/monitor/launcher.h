/* What the program berth-monitor is where berth-sandboxd starts it: its launcher (sandbox/launcher.h). */
#pragma once

/* With the daemon's socket at LAUNCHER_FD. @title is argv[0], followed by LAUNCHER_TITLE_PADDING. Returns the
 * exit status, once the daemon is gone. */
int launcher_run(char *title);
