unit_test(hierarchy LIBS berth_sandbox)
unit_test(taskgroup LIBS berth_sandbox WRAP group_file_write cgroup_modify_cgroup)
unit_test(device_filter LIBS berth_sandbox WRAP syscall group_file_write)
