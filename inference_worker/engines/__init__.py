"""Engines behind the contract of `inference_worker.engine`; `factory` imports the one that is asked for."""
