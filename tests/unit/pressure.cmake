unit_test(pressure_plan LIBS berth_pressure)
unit_test(pressure_figures LIBS berth_pressure)
