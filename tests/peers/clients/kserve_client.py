"""KServe's own clients, REST (V1 and V2) and gRPC, against a gateway with the zoo of the conformance tests."""

import numpy as np
from checks import Address, main, refusal
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

ROWS = np.array([[1.5, -2.0], [3.25, 4.0]], np.float32)


def request(model: str, array: np.ndarray, datatype: str, binary: bool) -> InferRequest:
    given = InferInput("x", list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model, [given])


def rest(protocol: str) -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol=protocol, retries=0, timeout=30))


async def rest_v2_says_that_all_is_ready(at: Address) -> None:
    async with rest("v2") as client:
        assert await client.is_server_live(at.http)
        assert await client.is_server_ready(at.http)
        assert await client.is_model_ready(at.http, "row")
        assert not await client.is_model_ready(at.http, "nothing")


async def rest_v2_infers_in_json_and_in_binary(at: Address) -> None:
    async with rest("v2") as client:
        for binary in (False, True):
            answer = await client.infer(at.http, request("row", ROWS, "FP32", binary), model_name="row")
            assert answer.model_name == "row"
            assert np.array_equal(answer.outputs[0].as_numpy(), ROWS)


async def rest_v2_carries_every_datatype(at: Address) -> None:
    arrays = {
        **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
        "FP16": "float16",
        "FP32": "float32",
        "FP64": "float64",
        "BOOL": "bool",
    }
    async with rest("v2") as client:
        for datatype, dtype in arrays.items():
            array = np.array([[0, 1], [1, 0]], dtype)
            answer = await client.infer(at.http, request(f"same_{datatype}", array, datatype, True), f"same_{datatype}")
            assert np.array_equal(answer.outputs[0].as_numpy(), array), datatype
        octets = np.array([[b"a", "é".encode()]], object)
        answer = await client.infer(at.http, request("same_BYTES", octets, "BYTES", True), "same_BYTES")
        found = [one if isinstance(one, str) else one.decode() for one in answer.outputs[0].as_numpy().ravel()]
        assert found == ["a", "é"]


async def rest_v2_gets_the_error_that_it_knows(at: Address) -> None:
    async with rest("v2") as client:
        for model, status in (("nothing", 404), ("row", 400)):
            asking = client.infer(at.http, request(model, ROWS[:, :1], "FP32", False), model_name=model)
            error = await refusal(asking)
            assert error.response.status_code == status, error
            assert "error" in error.response.json()


async def rest_v1_predicts_and_says_that_all_is_ready(at: Address) -> None:
    async with rest("v1") as client:
        assert await client.is_server_live(at.http)
        assert await client.is_model_ready(at.http, "row") is True
        answer = await client.infer(at.http, {"instances": ROWS.tolist()}, model_name="row")
        assert answer == {"predictions": ROWS.tolist()}


async def rest_v1_explains_nothing_and_says_why(at: Address) -> None:
    async with rest("v1") as client:
        error = await refusal(client.explain(at.http, "row", {"instances": [[1, 2]]}))
        assert error.response.status_code == 501, error


async def grpc_says_that_all_is_ready_and_infers(at: Address) -> None:
    async with InferenceGRPCClient(at.grpc, retries=0) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("row")
        for binary in (False, True):
            answer = await client.infer(request("row", ROWS, "FP32", binary))
            assert np.array_equal(answer.outputs[0].as_numpy().reshape(ROWS.shape), ROWS)


async def grpc_gets_the_code_of_an_unknown_model(at: Address) -> None:
    async with InferenceGRPCClient(at.grpc, retries=0) as client:
        error = await refusal(client.infer(request("nothing", ROWS, "FP32", True)))
        assert "NOT_FOUND" in str(error), error


if __name__ == "__main__":
    main(
        rest_v2_says_that_all_is_ready,
        rest_v2_infers_in_json_and_in_binary,
        rest_v2_carries_every_datatype,
        rest_v2_gets_the_error_that_it_knows,
        rest_v1_predicts_and_says_that_all_is_ready,
        rest_v1_explains_nothing_and_says_why,
        grpc_says_that_all_is_ready_and_infers,
        grpc_gets_the_code_of_an_unknown_model,
    )
