// What this CPU has, and how PyTorch computes on it.
#include "torch_functions.h"

namespace dqbart {

int64_t torch_lanes = 16;

}  // namespace dqbart

extern "C" {

// Whether it has what the kernels were compiled for.
int dq_supported() {
#ifdef __AVX512VNNI__
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
#else
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
}

// Says of how many lanes PyTorch's vectors are, 16 or 8, before anything is computed.
void dq_follow_torch(int64_t lanes) { dqbart::torch_lanes = lanes; }

}  // extern "C"
