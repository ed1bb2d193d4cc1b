# Filters, denials, paths and identities. Those that load filters or change credentials need root and
# skip with a reason without.
unit_test(syscall_names LIBS berth_proto PkgConfig::LIBSECCOMP)
find_file(UNISTD_HEADER asm/unistd_64.h PATH_SUFFIXES x86_64-linux-gnu REQUIRED)
target_compile_definitions(test_syscall_names PRIVATE UNISTD_HEADER="${UNISTD_HEADER}")
unit_test(filter LIBS berth_sandbox SOURCES filtered_child.c)
unit_test(filter_oci LIBS berth_sandbox SOURCES filtered_child.c)
unit_test(filter_cache LIBS berth_sandbox)
unit_test(denial LIBS berth_sandbox SOURCES filtered_child.c)
unit_test(path LIBS berth_sandbox)
unit_test(identity LIBS berth_sandbox)
