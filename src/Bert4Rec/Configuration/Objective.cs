namespace Bert4Rec.Configuration;

/// <summary>What a model learns to predict.</summary>
internal enum Objective
{
    /// <summary>Hidden events, from those on both sides (BERT4Rec).</summary>
    Cloze,

    /// <summary>The event after each, from those before it (SASRec).</summary>
    NextItem,
}
