"""How much memory a network takes: predicted from a run on fake tensors, and measured beside it."""

from advisor.devices.memory.document import memory_document
from advisor.devices.memory.predict import predict_memory
from advisor.devices.memory.prediction import MemoryPrediction, ModuleMemory
from advisor.devices.memory.receipt import MemoryReceipt
from advisor.devices.memory.verify import verify_memory

__all__ = [
    "MemoryPrediction",
    "MemoryReceipt",
    "ModuleMemory",
    "memory_document",
    "predict_memory",
    "verify_memory",
]
