"""A Python service that calls both: it can't tell how they are run."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def plan(request: Request) -> JSONResponse:
    city = request.path_params["city"]
    micro = request.state.micro
    weather = (await micro.call("weather", "GET", f"/weather/{city}")).json()
    message = {"to": "ada", "text": f"{city}: {weather['sky']} sky"}
    sms = (await micro.call("sms", "POST", "/sms", json=message)).json()
    return JSONResponse({"city": city, "sky": weather["sky"], "sms": sms["number"]})


app = Starlette(routes=[Route("/trips/{city}", plan, methods=["POST"])])
