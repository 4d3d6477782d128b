"""KServe's own clients, REST (V1 and V2) and gRPC, against a gateway with the zoo of the conformance tests."""

import numpy as np
from checks import Address, main, refusal
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

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


DTYPES = {
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BOOL": "bool",
}
OCTETS = np.array([[b"a", "é".encode()]], object)


async def rest_v2_carries_every_datatype(at: Address) -> None:
    async with rest("v2") as client:
        for datatype, dtype in DTYPES.items():
            array = np.array([[0, 1], [1, 0]], dtype)
            answer = await client.infer(at.http, request(f"same_{datatype}", array, datatype, True), f"same_{datatype}")
            assert np.array_equal(answer.outputs[0].as_numpy(), array), datatype
        answer = await client.infer(at.http, request("same_BYTES", OCTETS, "BYTES", True), "same_BYTES")
        assert text_of(answer) == ["a", "é"]


def text_of(answer: InferResponse) -> list[str]:
    return [one if isinstance(one, str) else one.decode() for one in answer.outputs[0].as_numpy().ravel()]


async def grpc_carries_every_datatype(at: Address) -> None:
    async with InferenceGRPCClient(at.grpc, retries=0) as client:
        for datatype, dtype in DTYPES.items():
            array = np.array([[0, 1], [1, 0]], dtype)
            answer = await client.infer(request(f"same_{datatype}", array, datatype, True))
            assert np.array_equal(answer.outputs[0].as_numpy().reshape(array.shape), array), datatype
        answer = await client.infer(request("same_BYTES", OCTETS, "BYTES", True))
        assert text_of(answer) == ["a", "é"]


async def ids_and_parameters_are_taken(at: Address) -> None:
    asked = request("row", ROWS, "FP32", True)
    asked.id, asked.parameters = "seven", {"routing_key": "ann", "count": 3, "on": True}
    async with rest("v2") as client:
        assert (await client.infer(at.http, asked, model_name="row", headers={"x-mine": "1"})).id == "seven"
    async with InferenceGRPCClient(at.grpc, retries=0) as client:
        assert (await client.infer(asked, headers=[("x-mine", "1")])).id == "seven"


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
        grpc_carries_every_datatype,
        ids_and_parameters_are_taken,
        grpc_gets_the_code_of_an_unknown_model,
    )
