"""A real application's imports: FastAPI, pydantic and SQLAlchemy, with tables, models and routes of each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import StaticPool

from bench.served import application

engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


class Base(DeclarativeBase):
    """All tables."""


class Customer(Base):
    """Who buys."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


class Order(Base):
    """What, and when."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    at: Mapped[datetime]
    total: Mapped[Decimal]
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Ordered(BaseModel):
    """An order as it is told."""

    id: int = Field(ge=1)
    at: datetime
    total: Decimal = Field(ge=0, decimal_places=2)
    customer: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The database is this process's, and so is its place in the ledger."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        customer = Customer(name="Ada")
        session.add(customer)
        now = datetime.now(UTC)
        session.add_all(Order(customer=customer, at=now, total=Decimal(n)) for n in range(20))
        session.commit()
    application.enter()
    yield


app = FastAPI(lifespan=lifespan)


def session() -> Session:
    """One a request."""
    return Session(engine)


@app.get("/")
async def orders(session: Annotated[Session, Depends(session)]) -> list[Ordered]:
    """All of them."""
    with session:
        found = session.scalars(select(Order))
        return [Ordered(id=one.id, at=one.at, total=one.total, customer=one.customer.name) for one in found]
