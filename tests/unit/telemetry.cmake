# The engine is played by the test itself.
unit_test(telemetry LIBS berth_telemetry)
