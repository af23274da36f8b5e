// The Python side: `forward(job, ...)` and friends take a ctypes structure with the layout of Job and return a status.
// Only the limited API is used, so that one build serves every Python from 3.11 on; torch is never linked against.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <cstring>

#include "job.h"
#include "transposed.h"

namespace {

using namespace advisor;

// Lists that stay within the arrays. (That they ascend is checked where they are made; it only helps the cache.)
bool inside(const Job& job) {
  const int32_t *indptr = job.indptr, *inputs = job.inputs;
  bool good = indptr[0] == 0 && indptr[job.blocks] == job.kept;
  for (int32_t b = 0; b < job.blocks; ++b) good &= indptr[b + 1] >= indptr[b];
  if (!good) return false;
  const uint32_t limit = static_cast<uint32_t>(job.in_channels);
  uint32_t outside = 0;
  for (int32_t i = 0; i < job.kept; ++i) outside |= static_cast<uint32_t>(inputs[i]) >= limit;
  return !outside;
}

int isa() {
#if defined(ADVISOR_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

using Forward = int32_t (*)(const Job&);
using GradWeight = int32_t (*)(const Job&, float*);

// The instruction set's copy for the job's vectors; null where there is none.
Forward forward_of(int set, int32_t lanes) {
#if defined(ADVISOR_X86)
  if (set == 2) return lanes == 16 ? avx512::forward : lanes == 8 ? avx512vl::forward : nullptr;
  if (set == 1) return lanes == 8 ? avx2::forward : nullptr;
#endif
  return set == 0 && lanes == 4 ? portable::forward : nullptr;
}

GradWeight grad_weight_of(int set, int32_t lanes) {
#if defined(ADVISOR_X86)
  if (set == 2) return lanes == 16 ? avx512::grad_weight : lanes == 8 ? avx512vl::grad_weight : nullptr;
  if (set == 1) return lanes == 8 ? avx2::grad_weight : nullptr;
#endif
  return set == 0 && lanes == 4 ? portable::grad_weight : nullptr;
}

template <class J>
bool read(PyObject* object, J& job) {
  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) != 0) return false;
  const bool fits = view.len == static_cast<Py_ssize_t>(sizeof(J));
  if (fits) std::memcpy(&job, view.buf, sizeof(J));
  PyBuffer_Release(&view);
  if (!fits) PyErr_SetString(PyExc_ValueError, "job of another size: the package's Python and compiled parts differ");
  return fits;
}

const float* floats(unsigned long long address) { return reinterpret_cast<const float*>(static_cast<uintptr_t>(address)); }
const int32_t* ints(unsigned long long address) { return reinterpret_cast<const int32_t*>(static_cast<uintptr_t>(address)); }

// Every entry takes (job, instruction_set, x, y, weight, indptr, inputs, bias, residual): a job without addresses, which
// calls of one shape share, and the addresses of this call (0 for none).
template <class Work>
PyObject* run(PyObject* args, Work work) {
  PyObject* object;
  int set;
  unsigned long long x, y, weight, indptr, inputs, bias, residual;
  if (!PyArg_ParseTuple(args, "OiKKKKKKK", &object, &set, &x, &y, &weight, &indptr, &inputs, &bias, &residual))
    return nullptr;
  Job job;
  if (!read(object, job)) return nullptr;
  job.x = floats(x);
  job.y = const_cast<float*>(floats(y));
  job.weight = floats(weight);
  job.indptr = ints(indptr);
  job.inputs = ints(inputs);
  job.bias = floats(bias);
  job.residual = floats(residual);
  int32_t status = kBadLists;
  Py_BEGIN_ALLOW_THREADS
  if (inside(job)) status = work(set, job);
  Py_END_ALLOW_THREADS
  return PyLong_FromLong(status);
}

PyObject* py_forward(PyObject*, PyObject* args) {
  return run(args, [](int set, const Job& job) {
    const Forward forward = forward_of(set, job.lanes);
    return forward ? forward(job) : static_cast<int32_t>(kBadTuning);
  });
}

PyObject* py_grad_input(PyObject*, PyObject* args) {
  return run(args, [](int set, const Job& job) {
    const Forward forward = forward_of(set, job.lanes);
    return forward ? grad_input(job, forward) : static_cast<int32_t>(kBadTuning);
  });
}

PyObject* py_grad_weight(PyObject*, PyObject* args) {
  return run(args, [](int set, const Job& job) {
    const GradWeight entry = grad_weight_of(set, job.lanes);
    return entry ? entry(job, const_cast<float*>(job.weight)) : static_cast<int32_t>(kBadTuning);
  });
}

PyObject* py_pool(PyObject*, PyObject* args) {
  PyObject* object;
  int set;
  unsigned long long x, y;
  if (!PyArg_ParseTuple(args, "OiKK", &object, &set, &x, &y)) return nullptr;
  PoolJob job;
  if (!read(object, job)) return nullptr;
  job.x = floats(x);
  job.y = const_cast<float*>(floats(y));
  int32_t status;
  Py_BEGIN_ALLOW_THREADS
#if defined(ADVISOR_X86)
  status = set == 2 ? avx512::pool(job) : set == 1 ? avx2::pool(job) : portable::pool(job);
#else
  status = portable::pool(job);
#endif
  Py_END_ALLOW_THREADS
  return PyLong_FromLong(status);
}

PyObject* py_isa(PyObject*, PyObject*) { return PyLong_FromLong(isa()); }

PyMethodDef methods[] = {
    {"forward", py_forward, METH_VARARGS, "forward(job, instruction_set, seven addresses) -> status"},
    {"grad_input", py_grad_input, METH_VARARGS, "the same, with y the gradient of the output; writes x"},
    {"grad_weight", py_grad_weight, METH_VARARGS, "the same, with y the gradient of the output; writes weight"},
    {"pool", py_pool, METH_VARARGS, "pool(job, instruction_set, x, y) -> status"},
    {"isa", py_isa, METH_NOARGS, "The newest instruction set of this CPU: 2 AVX-512, 1 AVX2 with FMA, 0 neither."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", "Sparse convolution kernels.", -1, methods,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__kernels() { return PyModule_Create(&module); }
