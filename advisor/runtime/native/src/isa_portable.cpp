#define ADVISOR_ISA portable
#define ADVISOR_LANES 4
#include "isa.inl"
