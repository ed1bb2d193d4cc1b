# The launch and the monitor, as far as they need no root; tests/system/launch has the rest.
unit_test(monitor_wire LIBS berth_sandbox)
unit_test(launcher_wire LIBS berth_sandbox)
unit_test(gate LIBS berth_sandbox)
unit_test(aside LIBS berth_sandbox)
unit_test(launch_program LIBS berth_sandbox)
unit_test(monitor_log LIBS berth_sandbox)
unit_test(monitor_output LIBS berth_sandbox)
