#include "agent/grpc/descriptors.h"

/* The bytes as protoc wrote them, between two labels. */
__asm__(".pushsection .rodata.descriptors,\"a\",@progbits\n"
	".balign 16\n"
	"berth_descriptors_begin:\n"
	".incbin \"" BERTH_DESCRIPTOR_SET "\"\n"
	"berth_descriptors_end:\n"
	".balign 8\n"
	".globl grpc_public_descriptors\n"
	".set grpc_public_descriptors, berth_descriptors_begin\n"
	".globl grpc_public_descriptors_size\n"
	"grpc_public_descriptors_size:\n"
	".quad berth_descriptors_end - berth_descriptors_begin\n"
	".popsection\n");
