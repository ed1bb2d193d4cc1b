#include "echo.h"

__asm__(".pushsection .rodata.echo,\"a\",@progbits\n"
	".balign 16\n"
	"echo_begin:\n"
	".incbin \"" ECHO_DESCRIPTOR_SET "\"\n"
	"echo_end:\n"
	".balign 8\n"
	".globl echo_descriptors\n"
	".set echo_descriptors, echo_begin\n"
	".globl echo_descriptors_size\n"
	"echo_descriptors_size:\n"
	".quad echo_end - echo_begin\n"
	".popsection\n");
