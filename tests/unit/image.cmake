unit_test(image_reference LIBS berth_image)
unit_test(image_documents LIBS berth_image)
