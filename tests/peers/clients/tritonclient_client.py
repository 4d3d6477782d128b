"""tritonclient of another year than the one in the tests' own environment: all that its four clients can ask."""

import queue
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from checks import Address, main, refusal

ROWS = np.array([[1.5, -2.0], [3.25, 4.0]], np.float32)
KINDS = (http_client, http_aio, grpc_client, grpc_aio)
Use = Callable[[Any, Any], Awaitable[None]]


async def answer(value: Any) -> Any:
    """Of a call to either kind of client: with and without asyncio."""
    return await value if isawaitable(value) else value


async def by_each(at: Address, use: Use) -> None:
    """Run `use` with each client and the module that it is of."""
    for module in KINDS:
        address = at.http.removeprefix("http://") if "http" in module.__name__ else at.grpc
        client = module.InferenceServerClient(address)
        try:
            await use(client, module)
        except Exception as error:
            raise AssertionError(module.__name__) from error
        finally:
            await answer(client.close())


def given(module: Any, array: np.ndarray, datatype: str = "FP32", name: str = "x") -> Any:
    tensor = module.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


async def refused(call: Callable[[], Any], *codes: str) -> str:
    """The message of its refusal, which has one of these codes."""

    async def asking() -> Any:
        return await answer(call())

    error = await refusal(asking())
    assert str(error.status()).removeprefix("StatusCode.") in codes, error
    return str(error.message())


async def health_and_metadata(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        assert await answer(client.is_server_live())
        assert await answer(client.is_server_ready())
        assert await answer(client.is_model_ready("row"))
        assert await answer(client.is_model_ready("row", "1"))
        assert not await answer(client.is_model_ready("nothing"))
        assert "serin" in str(await answer(client.get_server_metadata()))
        assert "onnx_onnxv1" in str(await answer(client.get_model_metadata("row")))
        assert "onnxruntime" in str(await answer(client.get_model_config("row", "1")))
        assert "TYPE_FP32" in str(await answer(client.get_model_config("row")))
        await refused(lambda: client.get_model_metadata("nothing"), "404", "NOT_FOUND")

    await by_each(at, use)


async def every_datatype_goes_there_and_back(at: Address) -> None:
    numbers = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
    dtypes = {**{name: name.lower() for name in numbers}, "FP16": "float16", "FP32": "float32", "FP64": "float64"}

    async def use(client: Any, module: Any) -> None:
        for datatype, dtype in {**dtypes, "BOOL": "bool"}.items():
            array = np.array([[0, 1], [1, 0]], dtype)
            result = await answer(client.infer(f"same_{datatype}", [given(module, array, datatype)]))
            assert result.as_numpy("y").tobytes() == array.tobytes(), datatype
        octets = np.array([[b"\xff\0", "é".encode()]], object)
        result = await answer(client.infer("same_BYTES", [given(module, octets, "BYTES")]))
        assert result.as_numpy("y").tolist() == octets.tolist()
        halves = np.array([[1.0, -2.5]], np.float32)
        result = await answer(client.infer("same_BF16", [given(module, halves, "BF16")]))
        assert result.as_numpy("y").tolist() == halves.tolist()
        large = np.array([[2**64 - 1, 2**53 + 1]], np.uint64)
        result = await answer(client.infer("same_UINT64", [given(module, large, "UINT64")]))
        assert result.as_numpy("y").tolist() == large.tolist()

    await by_each(at, use)


async def shapes_without_dimensions_and_without_rows(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        result = await answer(client.infer("scalar", [given(module, np.array(2.5, np.float32))]))
        assert result.as_numpy("y").shape == ()
        result = await answer(client.infer("row", [given(module, ROWS[:0])]))
        assert result.as_numpy("y").shape == (0, 2)

    await by_each(at, use)


async def what_a_request_may_say_besides(at: Address) -> None:
    everything: dict[str, Any] = {
        "model_version": "1",
        "request_id": "seven",
        "sequence_id": 5,
        "sequence_start": True,
        "sequence_end": True,
        "priority": 2,
        "timeout": 20_000_000,
        "parameters": {"mine": "yes", "count": 3, "on": True},
    }

    async def use(client: Any, module: Any) -> None:
        wanted = [module.InferRequestedOutput("y")]
        headers = {"serin-routing-key": "ann"}  # made anew: the client over HTTP writes into it
        how = {"outputs": wanted, "headers": headers, **everything}
        result = await answer(client.infer("row", [given(module, ROWS)], **how))
        assert result.as_numpy("y").tolist() == ROWS.tolist()
        said = result.get_response()
        assert (said["id"] if isinstance(said, dict) else said.id) == "seven"

    await by_each(at, use)


async def compression_both_ways(at: Address) -> None:
    many = np.tile(ROWS, (500, 1))

    async def use(client: Any, module: Any) -> None:
        over_http = "http" in module.__name__
        for coding in ("gzip", "deflate"):
            how = {"compression_algorithm": coding}
            if over_http:
                how = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
            result = await answer(client.infer("row", [given(module, many)], **how))
            assert result.as_numpy("y").tobytes() == many.tobytes()

    await by_each(at, use)


async def classes_of_an_output(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        wanted = [module.InferRequestedOutput("y", class_count=1)]
        result = await answer(client.infer("row", [given(module, ROWS)], outputs=wanted))
        assert result.as_numpy("y").tolist() == [[b"1.500000:0"], [b"4.000000:1"]]

    await by_each(at, use)


async def mistakes_are_told_apart(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        good = [given(module, ROWS)]
        await refused(lambda: client.infer("nothing", good), "404", "NOT_FOUND")
        await refused(lambda: client.infer("row", good, model_version="9"), "404", "NOT_FOUND")
        wrong = [given(module, ROWS.astype(np.float64), "FP64")]
        text = await refused(lambda: client.infer("row", wrong), "400", "INVALID_ARGUMENT")
        assert "the model expects FP32" in text
        text = await refused(lambda: client.infer("row", []), "400", "INVALID_ARGUMENT")
        assert "missing: input 'x'" in text

    await by_each(at, use)


async def the_repository_and_its_refusals(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        assert "row" in str(await answer(client.get_model_repository_index()))
        await answer(client.unload_model("fixed", unload_dependents=True))
        assert not await answer(client.is_model_ready("fixed"))
        await answer(client.load_model("fixed"))
        assert await answer(client.is_model_ready("fixed"))
        await refused(lambda: client.load_model("fixed", config="{}"), "501", "UNIMPLEMENTED")
        files = {"file:1/model.onnx": b"mine"}
        await refused(lambda: client.load_model("fixed", config="{}", files=files), "501", "UNIMPLEMENTED")
        await refused(lambda: client.load_model("nothing"), "404", "NOT_FOUND")
        await refused(lambda: client.load_model("broken"), "409", "FAILED_PRECONDITION")
        assert await answer(client.is_server_ready())

    await by_each(at, use)


async def statistics_trace_and_log_settings(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        assert "execution_count" in str(await answer(client.get_inference_statistics("row", "1")))
        assert "inference_stats" in str(await answer(client.get_inference_statistics()))
        assert "trace_level" in str(await answer(client.get_trace_settings()))
        assert "trace_level" in str(await answer(client.get_trace_settings(model_name="row")))
        await answer(client.update_trace_settings(settings={"trace_level": None}))
        change = {"trace_level": ["TIMESTAMPS"]}
        await refused(lambda: client.update_trace_settings(settings=change), "501", "UNIMPLEMENTED")
        assert "log_info" in str(await answer(client.get_log_settings()))
        await refused(lambda: client.update_log_settings({"log_verbose_level": 3}), "501", "UNIMPLEMENTED")

    await by_each(at, use)


async def shared_memory_is_refused_in_words(at: Address) -> None:
    async def use(client: Any, module: Any) -> None:
        calls = (
            client.get_system_shared_memory_status,
            client.get_cuda_shared_memory_status,
            lambda: client.register_system_shared_memory("mine", "/mine", 8),
            lambda: client.register_cuda_shared_memory("mine", b"bWluZQ==", 0, 8),
            client.unregister_system_shared_memory,
            client.unregister_cuda_shared_memory,
        )
        for call in calls:
            assert "shared memory" in await refused(call, "501", "UNIMPLEMENTED")

    await by_each(at, use)


async def documents_of_grpc_as_json(at: Address) -> None:
    with grpc_client.InferenceServerClient(at.grpc) as client:
        assert client.get_server_metadata(as_json=True)["name"] == "serin"
        assert client.get_model_metadata("row", as_json=True)["inputs"][0]["datatype"] == "FP32"
        assert client.get_model_config("row", as_json=True)["config"]["name"] == "row"
        assert client.get_inference_statistics("row", as_json=True)["model_stats"][0]["name"] == "row"
        assert client.get_model_repository_index(as_json=True)["models"]
        assert client.get_trace_settings(as_json=True)["settings"]
        assert client.get_log_settings(as_json=True)["settings"]
        result = client.infer("row", [given(grpc_client, ROWS)])
        assert result.get_response(as_json=True)["model_name"] == "row"


async def side_by_side_and_given_up(at: Address) -> None:
    with http_client.InferenceServerClient(at.http.removeprefix("http://"), concurrency=4) as client:
        waiting = [client.async_infer("row", [given(http_client, ROWS)], request_id=str(n)) for n in range(20)]
        assert [found.get_result().get_response()["id"] for found in waiting] == [str(n) for n in range(20)]
    answers: queue.Queue[Any] = queue.Queue()
    with grpc_client.InferenceServerClient(at.grpc) as client:
        endless = [given(grpc_client, np.array(2**40), "INT64", "n")]
        call = client.async_infer("patient", endless, lambda result, error: answers.put(error))
        call.cancel()
        assert answers.get(timeout=20) is not None
        client.async_infer("row", [given(grpc_client, ROWS)], lambda result, error: answers.put(result))
        assert answers.get(timeout=20).as_numpy("y").tolist() == ROWS.tolist()


async def streams_of_grpc(at: Address) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with grpc_client.InferenceServerClient(at.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(5):
            client.async_stream_infer("row", [given(grpc_client, ROWS)], request_id=str(number))
        client.async_stream_infer("nothing", [given(grpc_client, ROWS)])
        found = [answers.get(timeout=20) for _ in range(6)]
        assert [result.get_response().id for result, error in found[:5]] == list("01234")
        assert "nothing" in str(found[5][1])
        client.async_stream_infer("patient", [given(grpc_client, np.array(2**40), "INT64", "n")])
        client.stop_stream(cancel_requests=True)
        again: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: again.put(result))
        client.async_stream_infer("row", [given(grpc_client, ROWS)], enable_empty_final_response=True)
        assert again.get(timeout=20).get_response().parameters["triton_final_response"].bool_param
        client.stop_stream()

    async def calls() -> Any:
        for number in range(3):
            yield {"model_name": "row", "inputs": [given(grpc_aio, ROWS)], "request_id": str(number)}

    async with grpc_aio.InferenceServerClient(at.grpc) as client:
        ids = [result.get_response().id async for result, error in client.stream_infer(calls())]
    assert ids == ["0", "1", "2"]


async def plugins_may_add_headers(at: Address) -> None:
    from tritonclient.grpc.auth import BasicAuth as GrpcAuth
    from tritonclient.http.auth import BasicAuth as HttpAuth

    for module, auth, address in (
        (http_client, HttpAuth, at.http.removeprefix("http://")),
        (grpc_client, GrpcAuth, at.grpc),
    ):
        with module.InferenceServerClient(address) as client:
            client.register_plugin(auth("ann", "secret"))
            assert client.infer("row", [given(module, ROWS)]).as_numpy("y").tolist() == ROWS.tolist()
            client.unregister_plugin()


if __name__ == "__main__":
    main(
        health_and_metadata,
        every_datatype_goes_there_and_back,
        shapes_without_dimensions_and_without_rows,
        what_a_request_may_say_besides,
        compression_both_ways,
        classes_of_an_output,
        mistakes_are_told_apart,
        the_repository_and_its_refusals,
        statistics_trace_and_log_settings,
        shared_memory_is_refused_in_words,
        documents_of_grpc_as_json,
        side_by_side_and_given_up,
        streams_of_grpc,
        plugins_may_add_headers,
    )
