fuzz_target(image_reference LIBS berth_image)
fuzz_target(image_documents LIBS berth_image)
fuzz_target(image_authentication LIBS berth_image)
