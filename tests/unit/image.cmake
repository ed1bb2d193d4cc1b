unit_test(image_reference LIBS berth_image)
unit_test(image_documents LIBS berth_image)
unit_test(image_content LIBS berth_image SOURCES image_desk.c)
unit_test(image_catalogue LIBS berth_image SOURCES image_desk.c)
