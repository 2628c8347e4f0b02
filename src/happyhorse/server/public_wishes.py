"""What is asked of a published model, checked and completed into an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from happyhorse.errors import PromptError
from happyhorse.sampling.public_request import SECONDS, PublicRequest, check_seconds, make_public_request, sound_seconds
from happyhorse.sampling.published import Denoising
from happyhorse.sampling.request import STEPS_MAX, checked_prompt, checked_whole
from happyhorse.server.errors import naming
from happyhorse.server.orders import Order
from happyhorse.server.public_offers import PublicOffer
from happyhorse.server.sizes import Size, size_name

if TYPE_CHECKING:
    from happyhorse.server.wishes import Wish

SHIFT = 5.0
"""Of the published models' noise levels, see ``magihuman_grid``; nothing reads it but people."""
UNGUIDED = "without guidance the negative prompt does nothing; magihuman-base is asked with guidance"


def public_order(wish: Wish, offer: PublicOffer, seed: int) -> Order:
    """The order of a wish. Raises FieldError for the first thing that cannot be made."""
    size, seconds = _size(wish, offer), _seconds(wish)
    with naming("num_inference_steps"):
        wanted = offer.denoising.steps if wish.steps is None else wish.steps
        steps = checked_whole("num_inference_steps", wanted, 1, STEPS_MAX)
    prompt, negative = check_public_texts(offer, wish.prompt, wish.negative_prompt)
    request = make_public_request(
        prompt,
        offer.denoising,
        negative=negative,
        seconds=seconds,
        size=size.preview,
        render=size.large,
        seed=seed,
        steps=steps,
    )
    large = request.large or request.shape
    return Order(
        prompt=prompt,
        negative_prompt=negative,
        seed=seed,
        size=size_name((large.width, large.height)),
        preview=size_name((request.shape.width, request.shape.height)),
        seconds=seconds,
        window=seconds,
        steps=steps,
        guidance=offer.guidance,
        sampler="unipc" if offer.denoising.guided else "dmd",
        shift=SHIFT,
        media={name: medium.to_dict() for name, medium in wish.media.items()},
        notes=(*request.notes(), *prompt_notes(offer, negative)),
        user=wish.user,
        published=True,
    )


def public_request(order: Order, denoising: Denoising) -> PublicRequest:
    """What a model that is sampled so is asked for an order."""
    return make_public_request(
        order.prompt,
        denoising,
        negative=order.negative_prompt,
        seconds=order.window,
        size=order.preview,
        render=order.size if order.rendered else None,
        seed=order.seed,
        steps=order.steps,
    )


def check_public_texts(offer: PublicOffer, prompt: str, negative: str) -> tuple[str, str]:
    """Prompt and negative prompt without space around them. Raises FieldError for what the model cannot read."""
    with naming("prompt"):
        prompt = checked_prompt(prompt)
        offer.check_tokens(prompt)
    with naming("negative_prompt"):
        try:
            negative = checked_prompt(negative) if negative.strip() else ""
            if negative:
                offer.check_tokens(negative)
        except PromptError as error:
            raise PromptError(str(error).replace("the prompt", "the negative prompt")) from error
    return prompt, negative


def prompt_notes(offer: PublicOffer, negative: str) -> tuple[str, ...]:
    """What is said in vain, a sentence each."""
    return (UNGUIDED,) if negative and not offer.denoising.guided else ()


def _size(wish: Wish, offer: PublicOffer) -> Size:
    if isinstance(wish.size, Size):
        return wish.size
    image = wish.media.get("image")
    with naming("size"):
        return offer.choose(wish.size, image.aspect if image else None)


def _seconds(wish: Wish) -> float:
    """As asked for, else as long as the sound in whole frames."""
    sound = wish.media.get("audio")
    with naming("seconds"):
        if wish.seconds is not None:
            return check_seconds(wish.seconds)
        return sound_seconds(sound.seconds) if sound else SECONDS
