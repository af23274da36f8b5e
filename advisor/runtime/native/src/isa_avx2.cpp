#define ADVISOR_ISA avx2
#define ADVISOR_LANES 8
#include "isa.inl"
