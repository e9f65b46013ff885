"""CIFAR-100's official superclasses (Krizhevsky 2009, Table 1): 20 coarse classes of 5 fine ones."""

# Coarse classes in the order of their ids, fine classes in the order of the official list.
CIFAR100_SUPERCLASSES: dict[str, tuple[str, str, str, str, str]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}


def superclass_ids() -> list[list[int]]:
    """Return the fine class ids of each superclass, (20, 5), in the order of the official list.

    CIFAR-100 numbers its fine classes alphabetically, so that a name's rank is its id.

    >>> superclass_ids()[0]
    [4, 30, 55, 72, 95]
    """
    names = sorted(name for fine in CIFAR100_SUPERCLASSES.values() for name in fine)
    rank = {name: index for index, name in enumerate(names)}
    return [[rank[name] for name in fine] for fine in CIFAR100_SUPERCLASSES.values()]


def next_in_superclass() -> list[int]:
    """Return, for each of the 100 fine classes, the cyclically next one of its superclass.

    >>> next_in_superclass()[4], next_in_superclass()[95]  # beaver -> dolphin, whale -> beaver
    (30, 4)
    """
    successor = [0] * 100
    for fine in superclass_ids():
        for here, there in zip(fine, fine[1:] + fine[:1], strict=True):
            successor[here] = there
    return successor
