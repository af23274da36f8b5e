#define ADVISOR_ISA avx512
#define ADVISOR_LANES 16
#define ADVISOR_SHORT_LANES 8
#include "isa.inl"
