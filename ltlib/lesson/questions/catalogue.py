"""The questions of all lessons, two per lesson, in the order of the lessons."""

from __future__ import annotations

from ltlib.lesson.questions.question import Question

QUESTIONS: dict[str, Question] = {
    # 00_start_here
    "tail_accuracy": Question(
        "The test set has equally many images of every class. How does accuracy change from head to tail?",
        {
            "It is about the same for every class": "A balanced test set makes the classes count equally. It does not "
            "make the network know them equally well.",
            "It falls from head to tail": "The network has seen hundreds of images of the first class and a handful of "
            "the last one.",
            "It is best in the middle": "Nothing favours the middle: accuracy follows the number of training images.",
        },
        "It falls from head to tail",
    ),
    "tail_confidence": Question(
        "On images of the three rarest classes, how confident is the network in its answers?",
        {
            "Less confident than it is accurate": "Then we could find its errors by looking for low confidence. The "
            "next cell shows the opposite.",
            "About as confident as it is accurate": "That would be a calibrated network. The next cell shows a gap.",
            "More confident than it is accurate": "The confidence is learnt on training images, nearly all of which "
            "belong to the head. It does not warn of the tail.",
        },
        "More confident than it is accurate",
    ),
    # 01_long_tailed_data
    "same_factor": Question(
        "At the same imbalance factor of 100, which profile keeps more training images?",
        {
            "The exponential one": "Its classes shrink from the second one on.",
            "The step profile": "Half of its classes are not cut at all.",
            "Both keep the same number": "The factor fixes only the largest and the smallest class.",
        },
        "The step profile",
    ),
    "repeats": Question(
        "The smallest class has 5 of about 1,240 images, and there are 10 classes. With class-balanced sampling, how "
        "often does one epoch show each of its images?",
        {
            "About once": "That is instance-balanced sampling.",
            "About 10 times": "Each class gets a tenth of the draws, about 124, and 5 images share them.",
            "About 25 times": "A tenth of the draws, about 124, is shared by 5 images.",
        },
        "About 25 times",
    ),
    # 02_measuring
    "held_out": Question(
        "The held-out images were taken from the long-tailed training set. Compared with the balanced test set, the "
        "accuracy on them is ...",
        {
            "higher": "Most held-out images belong to the head, which the network knows well.",
            "the same": "It would be, if both sets had the same class proportions.",
            "lower": "The tail is nearly absent among the held-out images, so its errors hardly count.",
        },
        "higher",
    ),
    "temperature": Question(
        "Temperature scaling with T = 3 is applied after training. What happens to the accuracy?",
        {
            "It rises a little": "Dividing all logits by one number leaves their order as it was.",
            "It stays exactly the same": "The largest logit stays the largest. Only the confidence changes.",
            "It falls a little": "Dividing all logits by one number leaves their order as it was.",
        },
        "It stays exactly the same",
    ),
    # 03_mislas
    "stage_two_gap": Question(
        "A classifier is trained again on class-balanced images, with plain cross-entropy. Its accuracy on the tail "
        "rises. What happens to the over-confidence?",
        {
            "It disappears": "The loss is still cross-entropy, which falls as long as the confidence grows.",
            "It remains": "The images are balanced now, but the loss still has no optimum at a finite confidence.",
            "It turns into under-confidence": "That takes a loss with targets below 1, such as label smoothing.",
        },
        "It remains",
    ),
    "who_is_smoothed": Question(
        "MiSLAS smooths the labels of some classes more than those of others. Which ones?",
        {
            "The rare classes, because they have few images": "Rare predictions are under-used already. Smoothing them "
            "would weaken them further.",
            "The frequent classes, because they are over-confident": "Their targets move from 1 to about 0.7 on "
            "CIFAR-10-LT.",
            "All equally": "That is ordinary label smoothing.",
        },
        "The frequent classes, because they are over-confident",
    ),
    # 04_reslt
    "plain_ensemble": Question(
        "We average the probabilities of three cross-entropy networks that were trained with different seeds. What "
        "does that do for the rare classes?",
        {
            "Much: the errors average out": "Random errors do. The preference for the head is the same in all.",
            "Little: all have the same preference for the head": "A mean of networks keeps what they share.",
            "It harms them": "It changes little in either direction.",
        },
        "Little: all have the same preference for the head",
    ),
    "sum_of_branches": Question(
        "The decision uses the sum of three logit vectors. Dividing the sum by three changes ...",
        {
            "the accuracy": "The largest of three sums is still the largest after a division.",
            "the confidence": "The softmax depends on the scale of the logits.",
            "both": "The order of the logits, and so the accuracy, stays.",
        },
        "the confidence",
    ),
    # 05_adversarial_examples
    "radius_and_data": Question(
        "The same radius of 8/255 is used on low-contrast letters and on white digits on black. Which network loses "
        "more?",
        {
            "The one for letters": "The strokes differ little from their background, so a small change is enough.",
            "The one for digits": "Their strokes differ from the background by nearly the full range.",
            "Both the same": "A radius has to be compared with what separates the classes.",
        },
        "The one for letters",
    ),
    "masked": Question(
        "A quantiser in front of a network makes PGD fail. What has it removed?",
        {
            "The adversarial examples": "The images are as near to the boundary as before. The next cells find them.",
            "The gradient that PGD follows": "The search fails, and the adversarial examples are still there.",
            "Both": "An adapted attack shows that the adversarial examples are still there.",
        },
        "The gradient that PGD follows",
    ),
    # 06_lbgat
    "guide_moves": Question(
        "In LBGAT the natural network T never sees an attacked image. Does its own robustness change?",
        {
            "No: it never meets an attack": "It is trained together with R, and the squared distance moves both.",
            "Yes, it rises: the squared distance pulls it towards R": "T loses confidence where R cannot follow.",
            "Yes, it falls": "The squared distance pulls T towards a robust network.",
        },
        "Yes, it rises: the squared distance pulls it towards R",
    ),
    "trades_beta": Question(
        "TRADES has a weight beta on the KL term. You raise it from 0.5 to 20. What happens in the plane?",
        {
            "Clean accuracy rises": "The KL term does not use the label. It asks for equal predictions in the ball.",
            "Clean accuracy falls, and so does the confidence": "Where the balls of two moons overlap, only an "
            "uncertain prediction is constant in both.",
            "Nothing changes": "Move the control below from 0.5 to 20 and look at the boundary.",
        },
        "Clean accuracy falls, and so does the confidence",
    ),
    # 07_robust_long_tail
    "which_way": Question(
        "Two classes on a line, one of them 100 times as frequent. Where does adversarial training put the boundary, "
        "compared with cross-entropy?",
        {
            "Nearer to the middle": "The attack makes the classes look more alike, so the prior counts more.",
            "At the same place": "Only at odds of 1.",
            "Deeper in the rare class": "The attack makes the classes look more alike, so the prior counts more.",
        },
        "Deeper in the rare class",
    ),
    "logit_scale": Question(
        "All logits of an undefended network are multiplied by 1,000. What happens to its accuracy under PGD with "
        "cross-entropy?",
        {
            "It stays the same: no decision changes": "The adversarial examples stay. PGD no longer finds them.",
            "It seems to rise": "The softmax saturates and its gradient becomes zero, so PGD no longer finds the way.",
            "It seems to fall": "The gradient that PGD needs vanishes; the attack becomes weaker.",
        },
        "It seems to rise",
    ),
    # 08_evidence_and_scale
    "best_epoch": Question(
        "You test after every epoch and report the best test accuracy instead of the last one. With which learning "
        "rate does this choice raise the number more?",
        {
            "A rate that falls to zero": "Its last epochs hardly change the network, so their accuracies are close.",
            "A constant rate": "The accuracy keeps jumping from epoch to epoch, and the choice picks the highest jump.",
            "It makes no difference": "The largest of many numbers is farther from the last one when they vary more.",
        },
        "A constant rate",
    ),
    "cost_of_attack": Question(
        "Which training needs more operations: TRADES with WRN-34-10 on 50,000 images of 32 pixels, or MiSLAS with "
        "ResNet-50 on 115,846 images of 224 pixels (ImageNet-LT)?",
        {
            "TRADES on the small images": "Every image is passed through a wide network many times per epoch, because "
            "each step of the attack needs a forward and a backward pass.",
            "MiSLAS on the large images": "Its images are larger and there are more of them, but an attack multiplies "
            "the passes per image.",
            "About the same": "Count the passes per image: the attack needs two for each of its steps.",
        },
        "TRADES on the small images",
    ),
    # 09_pretrained
    "heads_tail": Question(
        "The frozen features are the same for every head. Does a linear classifier, trained by cross-entropy on the "
        "long-tailed features, still lose the rare classes?",
        {
            "Yes: it loses them, although the features tell them apart": "The loss sees the rare classes in few images "
            "and learns the prior of the training set with them. That is a property of the head.",
            "No: good features solve the problem": "They make a good head possible. The nearest class mean is one, and "
            "this one is trained on the same long tail as before.",
            "It loses the frequent classes instead": "Their images are most of the loss, so their errors shrink first.",
        },
        "Yes: it loses them, although the features tell them apart",
    ),
    "cosine_scale": Question(
        "The logits of the nearest class mean are cosines times 25. What changes if the factor is 10?",
        {
            "Accuracy falls": "The largest cosine stays the largest whatever it is multiplied by.",
            "The confidence falls, and no prediction changes": "A factor on all logits is a temperature.",
            "Nothing": "The softmax of smaller logits is flatter.",
        },
        "The confidence falls, and no prediction changes",
    ),
    # 10_capstone
    "few_held_out": Question(
        "A fifth of the training images is held out. Of the rarest class that is one image. How exactly do the "
        "held-out images tell you the accuracy on that class?",
        {
            "Within a few points": "That would take some hundred images of the class.",
            "It is 0% or 100%": "One image decides, so this accuracy is hardly more than a coin. A mean over all "
            "classes is less noisy, because several classes contribute to it.",
            "As exactly as for the other classes": "The largest class has a hundred times as many held-out images.",
        },
        "It is 0% or 100%",
    ),
    "noise_or_attack": Question(
        "Every pixel is moved at random by at most 8/255, and the accuracy hardly changes. What does that say "
        "about an attack with the same radius?",
        {
            "The network is robust to it": "An attack does not draw directions at random. It looks for the worst one.",
            "An attack needs a larger radius": "The next figure shows what the attack finds inside the same radius.",
            "Nothing": "In many dimensions nearly all random directions are harmless, and the attack searches for one "
            "that is not.",
        },
        "Nothing",
    ),
}
