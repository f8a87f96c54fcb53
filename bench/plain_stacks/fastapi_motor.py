"""FastAPI and Motor: `count_documents` for the total, `skip` for the page, a model that validates what goes out.

Run by `uvicorn bench.plain_stacks.fastapi_motor:app`; MONGODB_URI and PLAIN_DATABASE say where the videos are.
"""

import os
from typing import Any

from fastapi import FastAPI, Query
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import BaseModel


class Channel(BaseModel):
    id: str
    title: str


class Thumbnail(BaseModel):
    url: str
    width: int | None = None
    height: int | None = None


class Video(BaseModel):
    id: str
    title: str
    description: str
    channel: Channel
    published_at: str
    live: str
    duration_seconds: int | None = None
    thumbnails: dict[str, Thumbnail]
    queries: list[str]
    first_seen_at: str
    url: str


class Page(BaseModel):
    items: list[Video]
    page: int
    limit: int
    total: int


app = FastAPI()
client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(os.environ["MONGODB_URI"])
videos = client[os.environ["PLAIN_DATABASE"]]["plain_videos"]


@app.get("/v1/videos")
async def list_videos(page: int = Query(1, ge=1), limit: int = Query(10, ge=1, le=100)) -> Page:
    """One page, newest first."""
    total = await videos.count_documents({})
    found = await videos.find().sort("published_at", -1).skip((page - 1) * limit).limit(limit).to_list(limit)
    items = [Video(id=video["_id"], **{name: video[name] for name in video if name != "_id"}) for video in found]
    return Page(items=items, page=page, limit=limit, total=total)
