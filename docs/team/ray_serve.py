"""Ray Serve: replicas of vLLM over the machines of a cluster, for a model larger than one card.

Start: pip install "ray[serve,llm]", then `serve run ray_serve:app` on the head of the cluster.
"""

from ray.serve.llm import LLMConfig, build_openai_app

app = build_openai_app(
    {
        "llm_configs": [
            LLMConfig(
                model_loading_config={
                    "model_id": "codellama",
                    "model_source": "codellama/CodeLlama-13b-hf",
                },
                engine_kwargs={
                    # Not for GPTBigCode (StarCoder): see "A model larger than one card".
                    "pipeline_parallel_size": 2,
                    "tensor_parallel_size": 1,
                    "dtype": "bfloat16",
                    "max_model_len": 8192,
                    "generation_config": "vllm",
                    "enable_prefix_caching": True,
                },
                deployment_config={"autoscaling_config": {"min_replicas": 1, "max_replicas": 4}},
            )
        ]
    }
)
