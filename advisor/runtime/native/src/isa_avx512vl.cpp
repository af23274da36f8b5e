// Half vectors with AVX-512's 32 registers: less waste on narrow maps.
#define ADVISOR_ISA avx512vl
#define ADVISOR_LANES 8
#include "isa.inl"
