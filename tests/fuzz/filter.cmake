fuzz_target(filter_oci LIBS berth_sandbox)
fuzz_target(identity LIBS berth_sandbox)
fuzz_target(filter_image LIBS berth_sandbox)
