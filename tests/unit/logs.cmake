unit_test(log_reader LIBS berth_logs)
