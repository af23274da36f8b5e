#define ADVISOR_ISA avx512
#define ADVISOR_LANES 16
#include "isa.inl"
