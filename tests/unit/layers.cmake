# Layers of images. tests/system/sandboxd drives all of it, in its fences.
unit_test(entry_name LIBS berth_unpack)
