"""A FastAPI application as it might exist already. It has never heard of micro."""

from fastapi import FastAPI

app = FastAPI(title="inventory")


@app.get("/inventory/{item}")
async def read(item: str, detailed: bool = False) -> dict[str, str | bool]:  # noqa: FBT001, FBT002 -- FastAPI's way
    """One item."""
    return {"item": item, "detailed": detailed}
